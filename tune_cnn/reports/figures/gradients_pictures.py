"""The figures of `gradients` as pictures, for places that show images alone; drawn without a browser."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tune_cnn.reports.figures.gradients import LIGHT_IS_NEAR, spread, stacked
from tune_cnn.reports.figures.png import write_png
from tune_cnn.reports.figures.study import FRONT, KNEE
from tune_cnn.reports.gradients_report import MetricSeen, Noise

_COLOURS = LinearSegmentedColormap.from_list("light_is_near", [colour for _, colour in LIGHT_IS_NEAR])
_WIDTH_IN, _DPI = 4.4, 64


def heat_picture(path: Path, metrics: Sequence[MetricSeen]) -> Path:
    """A panel for each metric: epochs downwards, phase by phase, the ranking to the right; light is near."""
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(_WIDTH_IN * columns, 2.4 * rows), dpi=_DPI, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    low, high = spread(metrics)
    for panel, metric in zip(panels, metrics, strict=False):
        values, names = stacked(metric)
        image = panel.imshow(
            values, aspect="auto", cmap=_COLOURS, vmin=low, vmax=high, interpolation="nearest",
            extent=(0, 1, len(names) - 0.5, -0.5),
        )  # fmt: skip
        every = -(-len(names) // 8)
        panel.set_yticks(range(0, len(names), every), [name.partition(" ")[0] for name in names[::every]])
        border = -0.5
        for phase in metric.phases[:-1]:
            border += len(phase.measured)
            panel.axhline(border, color=FRONT, linewidth=1)
        panel.set_title(metric.name, fontsize="medium")
        panel.set_xlabel("place in the ranking", fontsize="small")
        panel.set_ylabel("epoch", fontsize="small")
    for panel in panels[len(metrics) :]:
        panel.set_axis_off()
    figure.colorbar(image, ax=panels, label="distance to the full gradient\n(mean of the epoch: 1)", shrink=0.9)
    return write_png(figure, path)


def parts_picture(path: Path, metrics: Sequence[MetricSeen]) -> Path:
    """A panel for each metric: the mean distance of each part of its ranking, phase by phase, with 95 % intervals."""
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(_WIDTH_IN * columns, 2.8 * rows), dpi=_DPI, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, metric in zip(panels, metrics, strict=False):
        for phase in metric.phases:
            middles = [(part.begin + part.end) / 2 for part in phase.parts]
            values = [part.distance.value for part in phase.parts]
            down = [part.distance.value - (part.distance.low or part.distance.value) for part in phase.parts]
            up = [(part.distance.high or part.distance.value) - part.distance.value for part in phase.parts]
            label = f"phase {phase.number} (epochs {phase.epochs})"
            panel.errorbar(middles, values, yerr=[down, up], marker="o", markersize=3, capsize=2, label=label)
        panel.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        panel.set_title(metric.name, fontsize="medium")
        panel.set_xlabel("place in the ranking", fontsize="small")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="x-small")
    for panel in panels[len(metrics) :]:
        panel.set_axis_off()
    figure.supylabel("distance to the full gradient", fontsize="small")
    return write_png(figure, path)


def noise_picture(path: Path, noise: Sequence[Noise]) -> Path:
    """The gradient noise scale over the epochs."""
    figure = Figure(figsize=(_WIDTH_IN, 2.8), dpi=_DPI, layout="constrained")
    panel = figure.subplots()
    values = [one.images.value for one in noise]
    down = [one.images.value - (one.images.low or one.images.value) for one in noise]
    up = [(one.images.high or one.images.value) - one.images.value for one in noise]
    panel.errorbar([one.epoch + 1 for one in noise], values, yerr=[down, up], marker="o", color=KNEE, capsize=2)
    panel.set_yscale("log")
    panel.set_xlabel("before epoch")
    panel.set_ylabel("noise scale, images")
    panel.grid(alpha=0.3, which="both")
    return write_png(figure, path)
