"""A comparison as Markdown, for a page in a repository: sentences, cells, effects, what to bear in mind."""

from collections.abc import Sequence

from tune_cnn.front.comparison.compared import Compared
from tune_cnn.metrics import METRICS
from tune_cnn.reports.comparison_words import (
    ComparisonReport,
    cell_state,
    chance,
    difference_text,
    effect_rows,
    interval_text,
    verdict,
)
from tune_cnn.reports.numbers import ABSENT, better, setting, titled


def comparison_markdown(report: ComparisonReport) -> str:
    """Sections without headings of their own: what stands around them is the page's."""
    found = report.compared
    parts = ["\n".join(f"- {sentence}" for sentence in verdict(found))]
    for group in found.groups:
        parts += [f"**{group}**"] if group else []
        parts.append(_cells(found, group))
    if len(found.factors) > 1 and (rows := effect_rows(found)):
        headings = ["value for the first one", *(f"{titled(m)} {better(m)}" for m in found.objectives)]
        lines = [[what, *(values.get(m.name, ABSENT) for m in found.objectives)] for what, values in rows.items()]
        parts.append(table(headings, lines))
    parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(found: Compared, group: str) -> str:
    cells = [cell for cell in found.cells if cell.of.group == group]
    tested = any("test_accuracy" in cell.metrics for cell in cells)
    states = any(cell_state(cell) for cell in cells)
    headings = [*found.factors, "n"]
    for m in found.objectives:
        headings += [f"{titled(m)} {better(m)}", "against the baseline", "p (Holm)"]
    headings += [*(["test_accuracy"] if tested else []), "on front", *(["how it ended"] if states else [])]
    lines = []
    for cell in cells:
        line = [*(setting(cell.of.levels[f]) for f in found.factors), str(len(cell.of.runs))]
        for m in found.objectives:
            of, apart = cell.metrics.get(m.name), cell.differences.get(m.name)
            p = ABSENT if apart is None or apart.p_holm is None else f"{apart.p_holm:.2g}"
            line += [ABSENT if of is None else interval_text(of, m)]
            line += [difference_text(apart, m, is_baseline=cell.is_baseline), p]
        if tested:
            of = cell.metrics.get("test_accuracy")
            line.append(ABSENT if of is None else interval_text(of, METRICS["accuracy"]))
        lines.append([*line, chance(cell), *([cell_state(cell)] if states else [])])
    return table(headings, lines)


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A bar inside a cell would end it."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in rows)
