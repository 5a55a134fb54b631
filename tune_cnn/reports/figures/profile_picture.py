"""A profile's figures as pictures, for places that show images alone; drawn without a browser."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tune_cnn.reports.figures.png import write_png
from tune_cnn.reports.figures.profile import CEILING, COLORS
from tune_cnn.reports.figures.profile_series import (
    Panel,
    images_per_s,
    of_best_pct,
    of_gpu,
    panels,
    utilisation_pct,
)
from tune_cnn.reports.profile_report import ProfiledCell

_PANEL_IN = (6.2, 4.2)  # inches
_DPI = 90  # some 50 KB a picture


def utilisation_picture(path: Path, cells: Sequence[ProfiledCell]) -> Path:
    what = "GPU utilisation [%]" if of_gpu(cells) else "utilisation of its cores [%]"
    return _over_batches(path, panels(cells, utilisation_pct), what, with_ceiling=False)


def speed_picture(path: Path, cells: Sequence[ProfiledCell]) -> Path:
    return _over_batches(path, panels(cells, images_per_s), "images/s", with_ceiling=True)


def _over_batches(path: Path, shown: Sequence[Panel], title: str, *, with_ceiling: bool) -> Path:
    figure, axes = _figure(shown)
    names = list(dict.fromkeys(line.name for panel in shown for line in panel.lines))
    for at, (panel, drawn) in enumerate(zip(shown, axes, strict=False)):
        for line in panel.lines:
            color, dashes = COLORS[names.index(line.name) % len(COLORS)], "-" if line.is_parallel else "--"
            drawn.plot(line.batches, line.values, dashes, color=color, marker="o", markersize=4, label=line.name)
        if with_ceiling and panel.ceiling is not None:
            drawn.plot(panel.ceiling.batches, panel.ceiling.values, ":", color=CEILING, linewidth=2, label="ceiling")
        drawn.set_xscale("log")
        drawn.set_xticks(list(panel.columns), [str(batch) for batch in panel.columns])
        drawn.minorticks_off()
        drawn.set(xlabel="batch size", ylabel=title, title=panel.title)
        drawn.set_ylim(bottom=0)
        drawn.grid(alpha=0.3)
        if at == 0:
            drawn.legend(fontsize="x-small")
    return write_png(figure, path)


def heat_picture(path: Path, cells: Sequence[ProfiledCell]) -> Path:
    """Workers × batch: images a second, coloured by their share of the best at the same batch."""
    shown = panels(cells, images_per_s)
    figure, axes = _figure(shown)
    for panel, drawn in zip(shown, axes, strict=False):
        shares = [[float("nan") if v is None else v for v in row] for row in of_best_pct(panel)]
        image = drawn.imshow(shares, vmin=0, vmax=100, aspect="auto", cmap="viridis")
        for y, row in enumerate(panel.table):
            for x, value in enumerate(row):
                if value is not None:
                    color = "black" if shares[y][x] > 60 else "white"
                    drawn.text(x, y, f"{value:,.0f}", ha="center", va="center", color=color, fontsize=8)
        drawn.set_xticks(range(len(panel.columns)), [str(batch) for batch in panel.columns])
        drawn.set_yticks(range(len(panel.names)), panel.names)
        drawn.set(xlabel="batch size", title=panel.title)
        figure.colorbar(image, ax=drawn, label="% of the best at the batch")
    return write_png(figure, path)


def _figure(shown: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    columns = min(2, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    width, height = _PANEL_IN
    figure = Figure(figsize=(width * columns, height * rows), dpi=_DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[len(shown) :]:
        empty.set_axis_off()
    return figure, axes
