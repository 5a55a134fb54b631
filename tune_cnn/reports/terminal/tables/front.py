"""The front as a table for the terminal."""

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tune_cnn.front.choose import knee
from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.reports.numbers import ABSENT, KNEE, better, number, setting, titled
from tune_cnn.reports.thinning import best_few
from tune_cnn.untyped import Plain

CONFIRMED = "✓"
_PADDING = 3  # cells that a column takes beside its content


def front_table(
    front: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    params_by_trial: Mapping[int, Mapping[str, Plain]],
    searched: Sequence[str],
    *,
    width: int = 120,
    most: int | None = None,
    confirmed: Collection[tuple[int, int]] = (),
) -> Table:
    """One row a point, in the front's order; the knee is marked.

    A searched parameter that is the same all over the front stands below the table, once. Where the others would not
    fit into `width` cells as columns, they share one. `most`: no more rows than that, ends and knee among them.
    `confirmed`: the points, by trial and epoch, that were trained again.
    """
    best = knee(front, objectives) if front else None
    rows = list(front) if most is None or best is None else best_few(front, best, most)
    same, differing = _split(rows, params_by_trial, searched)
    headings = ["", "trial", "epoch", *(f"{titled(m)} {better(m)}" for m in objectives)]
    marks = [(KNEE if p is best else "") + (CONFIRMED if (p.trial, p.epoch) in confirmed else "") for p in rows]
    numbers = [[mark, str(p.trial), str(p.epoch), *_values(p, objectives)] for p, mark in zip(rows, marks, strict=True)]
    settings = [[setting(params_by_trial.get(p.trial, {}).get(name)) for name in differing] for p in rows]
    spread = _width([headings + differing, *(a + b for a, b in zip(numbers, settings, strict=True))]) <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", caption_justify="left", show_edge=False)
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)  # Text: rich would take [s] for markup
    for name in differing if spread else ["parameters"] if differing else []:
        table.add_column(Text(name), justify="right" if spread else "left", overflow="fold")
    for point, left, right in zip(rows, numbers, settings, strict=True):
        joined = [" ".join(f"{k}={v}" for k, v in zip(differing, right, strict=True) if v != ABSENT)]
        cells = left + (right if spread else joined if differing else [])
        table.add_row(*map(Text, cells), style="bold green" if point is best else "")
    table.caption = _caption(rows, front, same, any(CONFIRMED in mark for mark in marks))
    return table


def _values(point: EpochPoint, objectives: Sequence[Metric]) -> list[str]:
    return [number(point.metrics.get(m.name), m) for m in objectives]


def _split(
    rows: Sequence[EpochPoint], params_by_trial: Mapping[int, Mapping[str, Plain]], searched: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """The searched parameters that all rows share, with their value, and those that differ."""
    same, differing = {}, []
    for name in searched:
        values = {setting(params_by_trial.get(p.trial, {}).get(name)) for p in rows}
        if len(values) == 1:
            same[name] = values.pop()
        elif values:
            differing.append(name)
    return same, differing


def _width(rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + _PADDING for column in zip(*rows, strict=True))


def _caption(rows: Sequence[EpochPoint], front: Sequence[EpochPoint], same: Mapping[str, str], confirmed: bool) -> Text:
    if not front:
        return Text("no epoch point with all objectives yet, so no front")
    parts = [f"{KNEE} knee: the best compromise"]
    if confirmed:
        parts.append(f"{CONFIRMED} confirmed; the values here are those of the search")
    if len(rows) < len(front):
        parts.append(f"{len(rows)} of {len(front)} points shown")
    if same:
        parts.append("in all: " + " ".join(f"{k}={v}" for k, v in same.items() if v != ABSENT))
    return Text(" · ".join(parts))
