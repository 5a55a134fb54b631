"""The page of `gradients`: one HTML file that holds all it needs, sheets of images among them."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tune_cnn.files import write_whole
from tune_cnn.reports.figures.gradients import heat_figure, noise_figure, parts_figure
from tune_cnn.reports.gradients_report import Finding, GradientsReport, Interval, MetricSeen, PhaseSeen, Sheet
from tune_cnn.reports.html.frame import html_figure, html_page
from tune_cnn.reports.html.sections import (
    commands_section,
    machine_section,
    notes_section,
    section,
    spec_section,
    table,
)

MOST_LAYERS = 30  # of a table


def gradients_page(path: str | Path, report: GradientsReport) -> Path:
    """Write the page whole or not at all; InputError where it can't be."""
    body = [
        _heading(report),
        _answer(report.answer),
        _heat(report.metrics),
        _correlations(report.metrics),
        *(_metric(metric, number) for number, metric in enumerate(report.metrics)),
        _findings(report.findings),
        _noise(report),
        _policies(report),
        commands_section(report.commands),
        notes_section(report.notes),
        spec_section(report.spec_yaml),
        machine_section(report.hardware, report.versions),
    ]
    path = Path(path)
    write_whole(path, html_page(f"{report.study} – tune_cnn", "\n".join(body)))
    return path


def interval(value: Interval, form: str) -> str:
    """A value with its interval, where there is one."""
    if value.low is None or value.high is None:
        return format(value.value, form)
    return f"{value.value:{form}} ({value.low:{form}} … {value.high:{form}})"


def _heading(report: GradientsReport) -> str:
    facts = "".join(f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in report.facts)
    about = f"<p>{escape(report.description)}</p>" if report.description else ""
    return (
        f'<p class="eyebrow">tune_cnn · which mini-batches are like the whole set?</p>\n'
        f"<h1>{escape(report.study)}</h1>\n{about}\n"
        f'<p class="facts"><span class="badge">{escape(report.state)}</span>{facts}</p>'
    )


def _answer(sentences: Sequence[str]) -> str:
    if not sentences:
        return '<p class="lead">Nothing is measured yet.</p>'
    return '<div class="lead">' + "".join(f"<p>{escape(one)}</p>" for one in sentences) + "</div>"


def _heat(metrics: Sequence[MetricSeen]) -> str:
    if not metrics:
        return ""
    note = (
        "How far each mini-batch's gradient lies from the full one, |g - G|, at the parameters before the epoch; the "
        "mean of an epoch is 1. From left to right as the metric ranks the images, least first. Light is near."
    )
    return section("Distance to the full gradient", note, html_figure("heat", heat_figure(metrics)))


def _correlations(metrics: Sequence[MetricSeen]) -> str:
    rows = [
        f"<tr><td>{escape(metric.name)}</td><td>{phase.number} (epochs {escape(phase.epochs)})</td>"
        f'<td class="num">{interval(phase.correlation, "+.2f")}</td>'
        f'<td class="num">{_nearest_part(phase)}</td><td class="num">{_farthest_part(phase)}</td>'
        f'<td class="num">{interval(phase.against_control, ".3f") if phase.against_control else "–"}</td>'
        f'<td class="num">{phase.by_value:+.2f}</td>'
        f'<td class="num">{phase.relative_l2:.2f}</td><td class="num">{phase.cosine:.2f}</td></tr>\n'
        for metric in metrics
        for phase in metric.phases
    ]
    if not rows:
        return ""
    headings = [
        "metric", "phase", "rank correlation", "nearest part", "farthest part", "beside random ones",
        "correlation with class entropy", "mean |g - G| / |G|", "mean 1 - cos",
    ]  # fmt: skip
    note = (
        "Rank correlation: of the place in the ranking with the distance; positive where the distance grows. Beside "
        "random ones: the mean distance over that of random mini-batches of the same size; above 1 the metric's are "
        "farther. Class entropy: of a mini-batch's labels; where its correlation is strongly negative, what makes a "
        "mini-batch far is that it holds few classes."
    )
    return section("Over the ranking", note, table(headings, rows, numeric=0))


def _nearest_part(phase: PhaseSeen) -> str:
    part = min(phase.parts, key=lambda one: one.distance.value)
    return f"{part.begin:.0%} … {part.end:.0%}: {part.distance.value:.2f}"


def _farthest_part(phase: PhaseSeen) -> str:
    part = max(phase.parts, key=lambda one: one.distance.value)
    return f"{part.begin:.0%} … {part.end:.0%}: {part.distance.value:.2f}"


def _metric(metric: MetricSeen, number: int) -> str:
    note = "The mean distance of each part of the ranking, with 95 % intervals; the mean of all is 1."
    content = html_figure(f"parts-{number}", parts_figure(metric))
    content += "".join(_sheets(phase) for phase in metric.phases if phase.nearest)
    content += _layers(metric)
    return section(metric.name, note, content)


def _sheets(phase: PhaseSeen) -> str:
    sides = (("nearest", phase.nearest), ("farthest", phase.farthest))
    cards = "".join(_sheet(side, number, one) for side, of in sides for number, one in enumerate(of, start=1))
    return f'<h3>Phase {phase.number}: the nearest and the farthest mini-batches</h3><div class="cards">{cards}</div>'


def _sheet(side: str, number: int, sheet: Sheet) -> str:
    return (
        f'<div class="card"><h3>{side} {number}</h3>'
        f'<img alt="the first images of the mini-batch" style="width:100%;image-rendering:pixelated" '
        f'src="data:image/png;base64,{escape(sheet.png)}">'
        f'<div class="from">distance {sheet.distance:.2f} · place {sheet.place:.2f} · value {sheet.value:.4g} · '
        f"class entropy {sheet.class_entropy:.2f} nat</div></div>"
    )


def _layers(metric: MetricSeen) -> str:
    rows = []
    for phase in metric.phases:
        for layer, values in list(phase.layers.items())[:MOST_LAYERS]:
            near, far = min(values), max(values)
            rows.append(
                f"<tr><td>{escape(layer)}</td><td>{phase.number}</td>"
                f'<td class="num">{sum(values) / len(values):.2f}</td>'
                f'<td class="num">{near:.2f} (part {values.index(near) + 1})</td>'
                f'<td class="num">{far:.2f} (part {values.index(far) + 1})</td></tr>\n'
            )
    if not rows:
        return ""
    shown = table(["layer", "phase", "mean |g - G| / |G|", "nearest part of ten", "farthest part of ten"], rows)
    return f"<details><summary>By layer</summary>{shown}</details>"


def _findings(found: Sequence[Finding]) -> str:
    rows = [
        f"<tr><td>{escape(one.metric)}</td><td>{escape(one.phase)}</td><td>{escape(one.claim)}</td>"
        f"<td><b>{escape(str(one.verdict))}</b></td><td>{escape(one.why)}</td></tr>\n"
        for one in found
    ]
    note = (
        'What Lasky et al., "What\'s the Best Mini-batch?", found, and what was seen here. A finding holds where the '
        "95 % interval of the difference of mean distances lies on its side, doesn't where it lies on the other."
    )
    return section("The paper's findings", note, table(["metric", "phase", "the paper", "here", "what was seen"], rows))


def _noise(report: GradientsReport) -> str:
    if not report.noise:
        return ""
    note = (
        "The gradient noise scale tr(Σ) / |G|² (McCandlish et al., 2018): the batch at which noise and gradient are "
        "alike, and so about the critical batch size: smaller ones gain almost a step for a step from growing, larger "
        "ones hardly anything. From random mini-batches, the whole set taken as the truth."
    )
    return section("Noise scale and critical batch size", note, html_figure("noise", noise_figure(report.noise)))


def _policies(report: GradientsReport) -> str:
    if report.policies is None:
        note = "No part of a ranking is surely farther than the rest, so there is none to leave out."
        return section("Does selection pay?", note, "")
    note = (
        "That a mini-batch is near the full gradient does not say that training on such ones gets further. This spec "
        "trains without the far part, and with its counterpart left out instead; the first command below asks."
    )
    return section("Does selection pay?", note, f"<pre>{escape(report.policies)}</pre>")
