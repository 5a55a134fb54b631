"""A comparison's curves as a picture, for pages that show images alone; drawn without a browser."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tune_cnn.front.comparison.compared import CURVES, ComparedCell
from tune_cnn.metrics import METRICS
from tune_cnn.reports.figures.comparison import BAND, COLORS, MOST_CELLS, heights
from tune_cnn.reports.figures.png import write_png
from tune_cnn.reports.numbers import better, titled

_PANEL_IN = (4.6, 2.6)  # inches


def curves_picture(path: Path, cells: Sequence[ComparedCell]) -> Path:
    """Write the curves as a PNG: loss and accuracy in rows, over epochs and over seconds."""
    names = [name for name in CURVES if any(name in cell.curves for cell in cells)]
    width, height = _PANEL_IN
    figure = Figure(figsize=(2 * width, height * max(len(names), 1) + 0.6), dpi=72, layout="constrained")
    panels = figure.subplots(max(len(names), 1), 2, squeeze=False, sharey="row")
    for at, cell in enumerate(cells[:MOST_CELLS]):
        color = COLORS[at % len(COLORS)]
        for row, name in zip(panels, names, strict=False):
            curve = cell.curves.get(name)
            if curve is None:
                continue
            for panel, x in zip(row, (curve.epochs, curve.seconds), strict=True):
                known = [(one, of) for one, of in zip(x, curve.means, strict=True) if one is not None]
                xs = [float(one) for one, _ in known]
                panel.plot(xs, [of.mean for _, of in known], color=color, linewidth=1.4, label=cell.of.name)
                ends = [
                    (of.mean if of.low is None else of.low, of.mean if of.high is None else of.high) for _, of in known
                ]
                panel.fill_between(xs, [e[0] for e in ends], [e[1] for e in ends], color=color, alpha=BAND, linewidth=0)
    for row, name in zip(panels, names, strict=False):
        row[0].set_ylim(*heights([cell.curves[name] for cell in cells if name in cell.curves]))
        row[0].set_ylabel(f"{titled(METRICS[name])} {better(METRICS[name])}")
        for panel in row:
            panel.grid(alpha=0.3)
    panels[-1][0].set_xlabel("epoch")
    panels[-1][1].set_xlabel(titled(METRICS["train_time_s"]))
    handles, labels = panels[0][0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize="small", frameon=False)
    return write_png(figure, path)
