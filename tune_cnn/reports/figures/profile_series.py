"""A profile's cells as lines over the batch size, and as a table of feeds and batches; whoever draws them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tune_cnn.reports.numbers import setting as shown
from tune_cnn.reports.profile_report import ProfiledCell

MOST_PANELS = 6  # settings in a figure: the fastest ones

Value = Callable[[ProfiledCell], float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    is_parallel: bool  # batches are made beside the step, by loader processes
    batches: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One setting: all but the batch and who makes the batches is equal."""

    title: str
    lines: Sequence[Line]
    ceiling: Line | None = None
    names: Sequence[str] = field(default_factory=list)  # of the table's rows
    columns: Sequence[int] = field(default_factory=list)  # batches
    table: Sequence[Sequence[float | None]] = field(default_factory=list)  # images a second


def utilisation_pct(cell: ProfiledCell) -> float | None:
    """Of the GPU where it is known; else of the cores that the cell has."""
    if "gpu_util_pct" in cell.metrics:
        return cell.metrics["gpu_util_pct"]
    return cell.metrics["cpu_util_pct"] / cell.cores if "cpu_util_pct" in cell.metrics else None


def images_per_s(cell: ProfiledCell) -> float | None:
    return cell.metrics.get("images_per_s")


def of_gpu(cells: Sequence[ProfiledCell]) -> bool:
    return any("gpu_util_pct" in cell.metrics for cell in cells)


def has_batches(cells: Sequence[ProfiledCell]) -> bool:
    """Whether there is a line to draw over them."""
    return len({cell.batch_size for cell in cells if cell.metrics}) > 1


def feed_name(cell: ProfiledCell) -> str:
    if cell.loader == "device":
        return "device"
    return f"{cell.loader}, {cell.workers} worker{'' if cell.workers == 1 else 's'}"


def cell_name(cell: ProfiledCell) -> str:
    return ", ".join([f"batch {cell.batch_size}", feed_name(cell), *filter(None, [setting_name(cell)])])


def setting_name(cell: ProfiledCell) -> str:
    """Without what says nothing: a single rank."""
    told = [f"{key} {shown(value)}" for key, value in cell.setting if not (key == "ranks" and value == 1)]
    return ", ".join(told)


def panels(cells: Sequence[ProfiledCell], value: Value) -> list[Panel]:
    """A panel a setting, the one with the fastest cell first; a line a feed."""
    settings: dict[str, list[ProfiledCell]] = {}
    for cell in cells:
        if cell.metrics:
            settings.setdefault(repr(cell.setting), []).append(cell)
    ordered = sorted(settings.values(), key=lambda mine: -max(cell.metrics["images_per_s"] for cell in mine))
    return [_panel(mine, value) for mine in ordered[:MOST_PANELS]]


def _panel(cells: Sequence[ProfiledCell], value: Value) -> Panel:
    feeds: dict[tuple[str, int], list[ProfiledCell]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.feed, cell.batch_size)):
        feeds.setdefault(cell.feed, []).append(cell)
    batches = sorted({cell.batch_size for cell in cells})
    ceilings = [max(c.metrics["ceiling_images_per_s"] for c in cells if c.batch_size == batch) for batch in batches]
    lines = []
    for mine in feeds.values():
        known = [(cell.batch_size, v) for cell in mine if (v := value(cell)) is not None]
        if known:
            xs, ys = zip(*known, strict=True)
            lines.append(Line(name=feed_name(mine[0]), is_parallel=mine[0].workers > 0, batches=xs, values=ys))
    speeds = {(cell.feed, cell.batch_size): cell.metrics["images_per_s"] for cell in cells}
    return Panel(
        title=setting_name(cells[0]),
        lines=lines,
        ceiling=Line(name="ceiling", is_parallel=False, batches=batches, values=ceilings),
        names=[feed_name(mine[0]) for mine in feeds.values()],
        columns=batches,
        table=[[speeds.get((feed, batch)) for batch in batches] for feed in feeds],
    )


def of_best_pct(panel: Panel) -> list[list[float | None]]:
    """The table by columns: each value over the best at its batch."""
    best = [max(v for row in panel.table if (v := row[at]) is not None) for at in range(len(panel.columns))]
    return [[None if v is None else 100 * v / best[at] for at, v in enumerate(row)] for row in panel.table]
