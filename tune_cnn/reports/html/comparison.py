"""The page of a comparison: the verdict first, then cells, differences, curves, effects, and how it was made."""

from html import escape
from pathlib import Path

from tune_cnn.files import write_whole
from tune_cnn.front.comparison.compared import Compared, ComparedCell
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
from tune_cnn.reports.figures.comparison import MOST_CELLS, curves_figure, differences_figure
from tune_cnn.reports.html.frame import html_figure, html_page
from tune_cnn.reports.html.sections import (
    commands_section,
    definitions_section,
    machine_section,
    notes_section,
    section,
    spec_section,
    table,
)
from tune_cnn.reports.numbers import ABSENT, better, setting, titled

_CELLS = (
    "The mean after the last epoch with the 95 % interval of the mean, by Student's t; of times and losses a geometric "
    "mean, and differences are factors. Each is held against the baseline, the first, in pairs with the same seed; a "
    "star is a difference that holds at 5 % after Holm's correction for all that stand in the column. “Seen” is the "
    "smallest true difference that so many seeds would show 8 times in 10. “On front” is how often a fresh run would "
    "end and not be beaten by a fresh run of another cell. The test split is reported, never chosen by."
)
_EFFECTS = (
    "Of a value against the first of its dimension, over all values of the others; below, of two together, what they "
    "do beyond the sum of both. With 95 % intervals over the seeds; a star where the interval leaves no difference out."
)


def write_comparison(path: Path, report: ComparisonReport) -> Path:
    """Write the page under a temporary name, then rename it. Raises InputError where it can't be written."""
    found = report.compared
    own = {name: metric for name, metric in found.metrics.items() if metric is not None}
    points = [p for cell in found.cells for points in cell.of.runs.values() for p in points[-1:]]
    body = [_heading(report), _verdict(found)]
    for number, group in enumerate(found.groups):
        cells = [cell for cell in found.cells if cell.of.group == group]
        body += [_cells(found, cells, group, number), _curves(cells, group, number)]
    body += [
        _effects(found),
        commands_section(report.commands, report.runs_page),
        notes_section(report.notes),
        spec_section(report.spec_yaml),
        machine_section(report.hardware, report.versions),
        definitions_section(found.objectives, points, own),
    ]
    write_whole(path, html_page(f"{report.study} – tune_cnn", "\n".join(body)))
    return path


def _heading(report: ComparisonReport) -> str:
    found = report.compared
    facts = [
        f'<span class="badge">{escape(report.state)}</span>',
        f"<span><b>{len(found.cells)}</b> cells over {escape(', '.join(found.factors))}</span>",
        f"<span><b>{report.seeds}</b> seeds each</span>",
        f"<span>started <b>{escape(report.started.strftime('%Y-%m-%d %H:%M %Z').strip())}</b></span>",
    ]
    told = f"<p>{escape(report.description)}</p>" if report.description else ""
    return f'<header>\n<h1>{escape(report.study)}</h1>\n{told}<p class="facts">{" ".join(facts)}</p>\n</header>'


def _verdict(found: Compared) -> str:
    return section("What is better", "", "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(found)))


def _cells(found: Compared, cells: list[ComparedCell], group: str, number: int) -> str:
    tested = any("test_accuracy" in cell.metrics for cell in cells)
    headings = [*found.factors, "seeds"]
    for m in found.objectives:
        headings += [f"{titled(m)} {better(m)}", "against the baseline", "p (Holm)", "seen"]
    headings += [*(["test_accuracy"] if tested else []), "on front", "how it ended"]
    rows = []
    for cell in cells:
        texts = [*(setting(cell.of.levels[f]) for f in found.factors), str(len(cell.of.runs))]
        for m in found.objectives:
            of, apart = cell.metrics.get(m.name), cell.differences.get(m.name)
            texts.append(ABSENT if of is None else interval_text(of, m))
            texts.append(difference_text(apart, m, is_baseline=cell.is_baseline))
            texts.append(ABSENT if apart is None or apart.p_holm is None else f"{apart.p_holm:.2g}")
            texts.append(ABSENT if apart is None or apart.detectable is None else f"{apart.detectable:.3g}")
        if tested:
            of = cell.metrics.get("test_accuracy")
            texts.append(ABSENT if of is None else interval_text(of, METRICS["accuracy"]))
        texts += [chance(cell), cell_state(cell)]
        style = "" if cell.on_front else " class=soft"
        rows.append(f"<tr{style}>" + "".join(f'<td class="num">{escape(text)}</td>' for text in texts) + "</tr>\n")
    drawn = any(cell.differences for cell in cells)
    figure = html_figure(f"differences-{number}", differences_figure(found, cells)) if drawn else ""
    title = f"Cells on {group}" if group else "Cells"
    return section(title, _CELLS if number == 0 else "", table(headings, rows, numeric=len(headings)) + figure)


def _curves(cells: list[ComparedCell], group: str, number: int) -> str:
    if not any(cell.curves for cell in cells):
        return ""
    note = (
        "Means over the seeds, with the 95 % interval of the mean as a band: over epochs, and over seconds of training."
    )
    if len(cells) > MOST_CELLS:
        note += f" Of {len(cells)} cells the first {MOST_CELLS} are drawn."
    title = f"Curves on {group}" if group else "Curves"
    return section(title, note if number == 0 else "", html_figure(f"curves-{number}", curves_figure(cells)))


def _effects(found: Compared) -> str:
    rows = effect_rows(found)
    if not rows or len(found.factors) < 2:
        return ""
    headings = ["value for the first one", *(f"{titled(m)} {better(m)}" for m in found.objectives)]
    lines = [
        f"<tr><td>{escape(what)}</td>"
        + "".join(f'<td class="num">{escape(values.get(m.name, ABSENT))}</td>' for m in found.objectives)
        + "</tr>\n"
        for what, values in rows.items()
    ]
    return section("What each value does", _EFFECTS, table(headings, lines, numeric=len(headings)))
