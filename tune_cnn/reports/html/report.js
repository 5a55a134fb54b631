"use strict";
(() => {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = getComputedStyle(document.body).fontFamily;
  const settings = {
    // plotly.js would offer to upload the chart to plotly's own cloud
    showSendToCloud: false, plotlyServerURL: "", responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  // The figures come without colours for text, grid and ground: only the page knows whether it is light or dark.
  const dressed = (layout) => {
    const copy = JSON.parse(JSON.stringify(layout));
    copy.paper_bgcolor = copy.plot_bgcolor = "rgba(0,0,0,0)";
    copy.font = { ...copy.font, color: color("--ink"), family: font, size: 13 };
    copy.hoverlabel = { ...copy.hoverlabel, bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } };
    copy.modebar = { bgcolor: "rgba(0,0,0,0)", color: color("--line"), activecolor: color("--soft") };
    for (const key of Object.keys(copy)) {
      if (/^[xy]axis\d*$/.test(key)) {
        Object.assign(copy[key], { gridcolor: color("--grid"), linecolor: color("--line"), tickcolor: color("--line") });
      }
    }
    for (const menu of copy.updatemenus || []) {
      Object.assign(menu, { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink"), size: 12 } });
    }
    return copy;
  };

  const draw = () => {
    for (const script of document.querySelectorAll("script.figure-data")) {
      const { data, layout } = JSON.parse(script.textContent);
      Plotly.react(script.dataset.figure, data, dressed(layout), settings);
    }
  };

  const copyText = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages served by plain http have no clipboard API
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await copyText(button.dataset.copy);
    const label = button.dataset.label || (button.dataset.label = button.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1200);
  });

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
