"""A comparison in the terminal: cells, their means and differences, effects, and the verdict."""

from collections.abc import Sequence

from rich import box
from rich.console import JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tune_cnn.front.comparison.compared import Compared, ComparedCell
from tune_cnn.metrics import METRICS, Metric
from tune_cnn.reports.comparison_words import (
    cell_state,
    chance,
    difference_text,
    effect_rows,
    factors_within,
    interval_text,
    verdict,
)
from tune_cnn.reports.numbers import ABSENT, better, setting, titled
from tune_cnn.reports.terminal.lines import Stream, plain

CAPTION = (
    "Mean over the seeds [95 % interval of the mean]. Against the baseline, with the same seeds: × times as much; "
    "* sure at 5 % after Holm's correction. On front: how often a fresh run would be."
)

WIDEST = 10_000  # more than any table needs: else rich measures what it would be folded to
ENDED = "how it ended"
REST = ("test_accuracy", "on front", ENDED)


def show_comparison(found: Compared, notes: Sequence[str], report: str | None) -> None:
    console = Stream()
    for group in found.groups:
        whole = cells_table(found, group)
        unbound = console.options.update(max_width=WIDEST)
        fits = Measurement.get(console, unbound, whole).maximum <= console.width
        for table in [whole] if fits else narrow_tables(found, group):
            console.print(table)
    plain(console, CAPTION)
    if any(len(effects) > 0 for effects in found.effects.values()) and len(found.factors) > 1:
        console.print(effects_table(found))
    plain(console, "")
    for sentence in verdict(found):
        plain(console, sentence)
    for note in notes:
        plain(console, f"Note: {note}")
    if report:
        plain(console, f"Report: {report}")


def cells_table(found: Compared, group: str) -> Table:
    """One row a cell; what the test split gave stands beside the objectives."""
    factors = factors_within(found, group)
    rows = []
    for cell in _cells(found, group):
        objectives = [f"{mean}\n{apart}" for mean, apart in (_told(cell, m) for m in found.objectives)]
        rows.append([*(setting(cell.of.levels[f]) for f in factors), _seeds(cell), *objectives, *_rest(cell)])
    headings = [*factors, "seeds", *(f"{titled(m)} {better(m)}" for m in found.objectives), *REST]
    return _table(found, group, headings, rows, title=f"On {group}" if group else None)


def narrow_tables(found: Compared, group: str) -> list[Table]:
    """The same for a screen that is not wide enough: a table for each objective, and one of the rest."""
    cells, title = _cells(found, group), f"On {group}" if group else None
    tables = []
    for m in found.objectives:
        rows = [[cell.of.name_within, _seeds(cell), *_told(cell, m)] for cell in cells]
        headings = ["", "seeds", f"{titled(m)} {better(m)}", "against the baseline"]
        tables.append(_table(found, group, headings, rows, title=title))
        title = None
    rest = [[cell.of.name_within, *_rest(cell)] for cell in cells]
    return [*tables, _table(found, group, ["", *REST], rest, title=None)]


def _table(
    found: Compared, group: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None
) -> Table:
    """Without the columns of the rest in which nothing stands; the baseline in bold."""
    kept = [at for at, heading in enumerate(headings) if heading not in REST or any(row[at] for row in rows)]
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        header_style="bold", show_edge=False,
    )  # fmt: skip
    for at in kept:
        justify: JustifyMethod = "left" if headings[at] in ("", ENDED) else "right"
        table.add_column(Text(headings[at]), justify=justify, overflow="fold")
    for cell, row in zip(_cells(found, group), rows, strict=True):
        table.add_row(*(Text(row[at]) for at in kept), style="bold" if cell.is_baseline else "")
    return table


def _cells(found: Compared, group: str) -> list[ComparedCell]:
    return [cell for cell in found.cells if cell.of.group == group]


def _told(cell: ComparedCell, m: Metric) -> tuple[str, str]:
    """Its mean, and what lies between it and the baseline."""
    of = cell.metrics.get(m.name)
    apart = difference_text(cell.differences.get(m.name), m, is_baseline=cell.is_baseline)
    return ABSENT if of is None else interval_text(of, m), apart


def _rest(cell: ComparedCell) -> list[str]:
    """What REST names; empty where it has none."""
    of = cell.metrics.get("test_accuracy")
    return ["" if of is None else interval_text(of, METRICS["accuracy"]), chance(cell), cell_state(cell)]


def effects_table(found: Compared) -> Table:
    """Of each level, and of pairs of them, a column an objective."""
    table = Table(
        title="What each value does, and pairs beyond that", title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False,
    )  # fmt: skip
    for heading in ("value for the first one", *(titled(m) for m in found.objectives)):
        table.add_column(Text(heading), justify="right" if table.columns else "left", overflow="fold")
    for what, values in effect_rows(found).items():
        table.add_row(*map(Text, [what, *(values.get(m.name, ABSENT) for m in found.objectives)]))
    return table


def _seeds(cell: ComparedCell) -> str:
    asked = len(cell.of.runs) + len(cell.of.failures) + cell.of.planned
    return str(asked) if asked == len(cell.of.runs) else f"{len(cell.of.runs)} of {asked}"
