"""A comparison in the terminal: cells, their means and differences, effects, and the verdict."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tune_cnn.front.comparison.compared import Compared, ComparedCell
from tune_cnn.metrics import METRICS
from tune_cnn.reports.comparison_words import cell_state, chance, difference_text, effect_rows, interval_text, verdict
from tune_cnn.reports.numbers import ABSENT, better, setting, titled
from tune_cnn.reports.terminal.lines import Stream, plain

CAPTION = (
    "mean over the seeds [95 % interval of the mean]; below, against the baseline with the same seeds: × times "
    "as much; * sure at 5 % after Holm's correction; on front: how often a fresh run would be"
)


def show_comparison(found: Compared, notes: Sequence[str], report: str | None) -> None:
    console = Stream()
    for group in found.groups:
        console.print(cells_table(found, group))
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
    cells = [cell for cell in found.cells if cell.of.group == group]
    tested = any("test_accuracy" in cell.metrics for cell in cells)
    states = [cell_state(cell) for cell in cells]
    headings = [*found.factors, "seeds", *(f"{titled(m)} {better(m)}" for m in found.objectives)]
    headings += [*(["test_accuracy"] if tested else []), "on front", *(["how it ended"] if any(states) else [])]
    table = Table(
        title=f"On {group}" if group else None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        pad_edge=False, header_style="bold", caption=Text(CAPTION), caption_justify="left", show_edge=False,
    )  # fmt: skip
    for heading in headings:
        table.add_column(Text(heading), justify="left" if heading == "how it ended" else "right", overflow="fold")
    for cell, state in zip(cells, states, strict=True):
        row = [*(setting(cell.of.levels[f]) for f in found.factors), _seeds(cell)]
        for m in found.objectives:
            of = cell.metrics.get(m.name)
            mean = ABSENT if of is None else interval_text(of, m)
            apart = difference_text(cell.differences.get(m.name), m, is_baseline=cell.is_baseline)
            row.append(f"{mean}\n{apart}")
        if tested:
            of = cell.metrics.get("test_accuracy")
            row.append(ABSENT if of is None else interval_text(of, METRICS["accuracy"]))
        row += [chance(cell), *([state] if any(states) else [])]
        table.add_row(*map(Text, row), style="bold" if cell.is_baseline else "")
    return table


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
