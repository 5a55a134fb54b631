"""The front as a picture, for places that show images alone; drawn without a browser."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tune_cnn.front.choose import knee
from tune_cnn.metrics import Direction, EpochPoint, Metric
from tune_cnn.reports.figures.png import write_png
from tune_cnn.reports.figures.study import FRONT, KNEE, metric_axis
from tune_cnn.reports.numbers import better, titled

FAINT = "#73809659"  # the figures' grey, as matplotlib writes it
MOST_PANELS = 6  # pairs of objectives
_PANEL_IN = (6.4, 4.4)  # inches


def front_picture(
    path: Path, points: Sequence[EpochPoint], front_points: Sequence[EpochPoint], objectives: Sequence[Metric]
) -> Path:
    """Write the front as a PNG: a panel for each pair of objectives; one objective alone over the epochs."""
    pairs: list[tuple[Metric, Metric | None]] = [*combinations(objectives, 2)] or [(objectives[0], None)]
    pairs = pairs[:MOST_PANELS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    width, height = _PANEL_IN
    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    best = knee(front_points, objectives) if front_points else None
    for panel, (up, across) in zip(panels, pairs, strict=False):
        _draw(panel, points, front_points, best, up, across, steps=len(objectives) == 2)
    for panel in list(panels)[len(pairs) :]:
        panel.set_axis_off()
    return write_png(figure, path)


def _draw(
    panel: Axes,
    points: Sequence[EpochPoint],
    front_points: Sequence[EpochPoint],
    best: EpochPoint | None,
    up: Metric,
    across: Metric | None,
    *,
    steps: bool,
) -> None:
    usable = [p for p in points if up.name in p.metrics and (across is None or across.name in p.metrics)]
    panel.scatter(*_xy(usable, up, across), s=10, color=FAINT, label="epoch points")
    along = sorted(front_points, key=lambda p: _xy([p], up, across))
    if steps and across is not None:
        style = "steps-post" if across.direction is Direction.MIN else "steps-pre"
        panel.plot(*_xy(along, up, across), drawstyle=style, color=FRONT, linewidth=1.5)
    panel.scatter(*_xy(along, up, across), s=32, color=FRONT, label="front", zorder=3)
    if best is not None:
        panel.scatter(*_xy([best], up, across), s=90, color=KNEE, marker="D", label="knee", zorder=4)
    for axis, metric in (("y", up), ("x", across)):
        values = [p.metrics[metric.name] for p in usable] if metric is not None else []
        ticks = metric_axis(metric, values) if metric is not None else {"type": "linear"}
        if values and ticks["type"] == "log":
            panel.set(**{f"{axis}scale": "log", f"{axis}lim": (min(values) / 1.1, max(values) * 1.1)})
            shown = dict(zip(ticks["tickvals"], ticks["ticktext"], strict=True))
            shown = {at: text for at, text in shown.items() if _in(at, values)}
            panel.set(**{f"{axis}ticks": list(shown), f"{axis}ticklabels": list(shown.values())})
            panel.minorticks_off()
    panel.set_ylabel(f"{titled(up)} {better(up)}")
    panel.set_xlabel("epoch" if across is None else f"{titled(across)} {better(across)}")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")


def _in(tick: float, values: Sequence[float]) -> bool:
    return min(values) / 1.1 <= tick <= max(values) * 1.1


def _xy(points: Sequence[EpochPoint], up: Metric, across: Metric | None) -> tuple[list[float], list[float]]:
    x = [float(p.epoch) if across is None else p.metrics[across.name] for p in points]
    return x, [p.metrics[up.name] for p in points]
