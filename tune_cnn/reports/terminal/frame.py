"""One frame of the live display: the progress of a search laid out for a terminal of a given size."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune_cnn.front.choose import knee
from tune_cnn.metrics import Direction, EpochPoint, Metric, Scale
from tune_cnn.reports.axes import Axis, axis
from tune_cnn.reports.numbers import KNEE, POINT, better, duration, number, quantity, setting, titled
from tune_cnn.reports.progress import Progress, RunningTrial
from tune_cnn.reports.terminal.scatter import SMALLEST_HEIGHT, SMALLEST_WIDTH, Mark, Point, scatter
from tune_cnn.reports.thinning import best_few

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST_PLOT, _TALLEST_PLOT = 90, 18  # beyond that a plot of a few dozen points gains nothing
_BAR = 12  # cells of a running trial's bar
_MOST_RUNNING = 8
_FEW = 4  # rows of the table below the plot, where there is no room beside it


def frame(progress: Progress, *, width: int, height: int, past: Sequence[EpochPoint] = ()) -> RenderableType:
    """At most `height` lines. `past`: points that were on the front once, drawn faint so that it is seen to grow."""
    parts: list[RenderableType] = [_line(_title(progress)), _bar(progress, width), _line(_hypervolume(progress, width))]
    notes = [_line(Text(text, style)) for text, style in _notes(progress)]
    free = height - len(parts) - len(notes)
    running = _running(progress, width, room=min(_MOST_RUNNING + 1, max(free - SMALLEST_HEIGHT - 2, free // 3)))
    free -= len(running)
    middle = _front(progress, past, width, min(free, _TALLEST_PLOT))
    parts += [middle] if middle is not None else []
    return Group(*[*parts, *running, *notes][: max(height, 1)])


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _title(progress: Progress) -> Text:
    left = "" if progress.time_left_s is None else f" · {duration(round(progress.time_left_s))} left"
    return Text.assemble(
        (progress.study, "bold"), (f"  {duration(round(progress.elapsed_s))}", ""), (left, "bold cyan" if left else "")
    )


def _bar(progress: Progress, width: int) -> RenderableType:
    text = counts(progress)
    share = progress.share_done
    room = width - len(text) - 1
    if share is None or room < 8:
        return _line(Text(text))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=min(room, 40))
    grid.add_column(no_wrap=True)
    grid.add_row(ProgressBar(total=1.0, completed=share, width=min(room, 40)), Text(text))
    return grid


def counts(progress: Progress) -> str:
    budget = f"/{progress.trials_budget}" if progress.trials_budget else ""
    parts = [f"{progress.trials_done}{budget} trials", f"{progress.trials_running} of {progress.slots} running"]
    if progress.trials_stopped:
        parts.append(f"{progress.trials_stopped} stopped")
    if progress.trials_failed:
        parts.append(f"{progress.trials_failed} failed")
    if progress.hours_budget:
        parts.append(f"{progress.hours_budget:g} h at most")
    if progress.epochs_budget:
        parts.append(f"{progress.epochs_budget} epochs at most")
    return " · ".join(parts)


def _hypervolume(progress: Progress, width: int) -> Text:
    known = progress.hypervolume is not None
    text = Text.assemble("hypervolume ", (f"{progress.hypervolume:.4g}" if known else "not yet", "bold"))
    tail = f"  {progress.points} epoch points, {len(progress.front)} on the front"
    room = min(40, width - len(text) - len(tail) - 2)
    if room >= 4 and progress.hypervolume_trace:
        text.append("  " + sparkline(progress.hypervolume_trace, room), "green")
    return text.append(tail, "dim")


def sparkline(values: Sequence[float], width: int) -> str:
    """The last of each of at most `width` even stretches of the values, from lowest to highest block."""
    cells = min(width, len(values))
    shown = [values[(k + 1) * len(values) // cells - 1] for k in range(cells)]
    low, span = min(shown), max(shown) - min(shown)
    return "".join(_BLOCKS[round((v - low) / span * 7)] if span else _BLOCKS[3] for v in shown)


def _notes(progress: Progress) -> list[tuple[str, str]]:
    notes = []
    if progress.message:
        notes.append((progress.message, "yellow"))
    if progress.mlflow:
        notes.append((f"MLflow: {progress.mlflow}", "dim"))
    if progress.report:
        notes.append((f"report: {progress.report}", "dim"))
    return notes


def _running(progress: Progress, width: int, *, room: int) -> list[Text]:
    running = sorted(progress.running, key=lambda trial: trial.number)
    if room < 1 or not running:
        return []
    shown = running if len(running) <= room else running[: room - 1]
    lines = [_line(_trial(trial, progress.objectives, width)) for trial in shown]
    if len(shown) < len(running):
        lines.append(_line(Text(f"… and {len(running) - len(shown)} more running", "dim")))
    return lines


def _trial(trial: RunningTrial, objectives: Sequence[Metric], width: int) -> Text:
    cells = _BAR if width >= 60 else 5
    full = round(cells * min(1.0, trial.epoch / max(trial.epochs, 1)))
    text = Text.assemble(
        (f"#{trial.number:<4}", "bold"), ("━" * full, "cyan"), ("─" * (cells - full), "dim"),
        f" {trial.epoch}/{trial.epochs}".ljust(8),
    )  # fmt: skip
    if not trial.metrics:
        text.append("starting" if not trial.epoch else "", "dim")
    for metric in objectives:
        if metric.name in trial.metrics:
            # A share alone says nothing; a duration names itself
            name = "" if metric.unit not in ("", "1") else f"{metric.name} "
            text.append(f" {name}{quantity(trial.metrics[metric.name], metric)} ")
    return text.append("  " + " ".join(f"{k}={setting(v)}" for k, v in trial.params.items()), "dim")


def _front(progress: Progress, past: Sequence[EpochPoint], width: int, height: int) -> RenderableType | None:
    """Plot and table side by side, or the plot alone, or the table alone: what fits."""
    if height < 3:
        return None
    if not progress.front:
        return _line(Text("no epoch point yet", "dim"))
    table = _table(progress, rows=height - 1)
    table_width = _table_width(table)
    plot_width = min(width - table_width - 2, _WIDEST_PLOT)
    fits = height >= SMALLEST_HEIGHT
    below = min(len(progress.front), _FEW) + 1
    if fits and plot_width >= SMALLEST_WIDTH + 6:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(_plot(progress, past, plot_width, height), table)
        return grid
    if height - below >= SMALLEST_HEIGHT + 1 and width >= max(SMALLEST_WIDTH, table_width):
        return Group(_plot(progress, past, width, height - below), _table(progress, rows=_FEW))
    if fits and width >= SMALLEST_WIDTH:
        return _plot(progress, past, width, height)
    return table


def _table_width(table: Table) -> int:
    cells = [[str(column.header), *map(str, column._cells)] for column in table.columns]
    return sum(max(map(len, column)) + 2 for column in cells)


def _table(progress: Progress, *, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for heading in ("", "trial", "epoch", *(f"{titled(m)} {better(m)}" for m in progress.objectives)):
        # Text: rich would take [s] for markup
        table.add_column(Text(heading), justify="right", no_wrap=True)
    best = knee(progress.front, progress.objectives)
    for point in best_few(progress.front, best, rows):
        values = (number(point.metrics.get(m.name), m) for m in progress.objectives)
        table.add_row(
            KNEE if point is best else POINT, str(point.trial), str(point.epoch), *values,
            style="bold green" if point is best else "",
        )  # fmt: skip
    return table


def _plot(progress: Progress, past: Sequence[EpochPoint], width: int, height: int) -> Text:
    if len(progress.objectives) == 1:
        return _trace_plot(progress, width, height)
    up, across = progress.objectives[0], progress.objectives[1]

    def at(point: EpochPoint) -> Point:
        return point.metrics[across.name], point.metrics[up.name]

    best = knee(progress.front, progress.objectives)
    known = [p for p in past if across.name in p.metrics and up.name in p.metrics]
    shown = [at(p) for p in (*progress.front, *known)]
    marks = [Mark(x=at(p)[0], y=at(p)[1], sign=POINT, style="bold") for p in progress.front if p is not best]
    marks.append(Mark(x=at(best)[0], y=at(best)[1], sign=KNEE, style="bold green"))
    steps = staircase([at(p) for p in progress.front], across) if len(progress.objectives) == 2 else []
    return scatter(
        marks, x=_axis(across, [x for x, _ in shown]), y=_axis(up, [y for _, y in shown]),
        width=width, height=height, line=steps, dots=[at(p) for p in known],
    )  # fmt: skip


def _axis(metric: Metric, values: Sequence[float]) -> Axis:
    return axis(f"{titled(metric)} {better(metric)}", values, log=metric.scale is Scale.LOG)


def staircase(points: Sequence[Point], across: Metric) -> list[Point]:
    """The edge of what a front of two objectives has reached: horizontal and vertical steps from point to point."""
    ordered = sorted(points)
    steps = ordered[:1]
    for (x0, y0), (x1, y1) in pairwise(ordered):
        steps += [(x1, y0) if across.direction is Direction.MIN else (x0, y1), (x1, y1)]
    return steps


def _trace_plot(progress: Progress, width: int, height: int) -> Text:
    """With one objective the front is one point, so the plot shows how far the search has come over time."""
    trace = list(progress.hypervolume_trace) or [progress.hypervolume or 0.0]
    line = [(float(k), v) for k, v in enumerate(trace)]
    end = Mark(x=line[-1][0], y=line[-1][1], sign=KNEE, style="bold green")
    return scatter(
        [end], x=axis("updates", [x for x, _ in line], log=False), y=axis("hypervolume ↑", trace, log=False),
        width=width, height=height, line=line,
    )  # fmt: skip
