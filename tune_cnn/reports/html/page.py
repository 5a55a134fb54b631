"""The report of a study: one HTML file that holds all it needs and asks nothing of the network."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tune_cnn.errors import InputError
from tune_cnn.front.confirmed import Confirmed
from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.reports.figures.parallel import MOST_LINES, parallel_coordinates_figure
from tune_cnn.reports.figures.study import (
    MOST_FRONT,
    curves_figure,
    front_figure,
    hypervolume_figure,
    importances_figure,
    most_curves,
    most_dominated,
)
from tune_cnn.reports.figures.thinning import hypervolume_trace, key, usable
from tune_cnn.reports.html.confirmed import confirmed_answer, confirmed_figure, confirmed_section
from tune_cnn.reports.html.sections import (
    answer,
    commands_section,
    definitions_section,
    failures_section,
    front_section,
    heading,
    notes_section,
    section,
    spec_section,
    surroundings_section,
)
from tune_cnn.reports.trials import TrialRow
from tune_cnn.spec import Choice, Range
from tune_cnn.untyped import Plain

# Should a text of the user's ever slip through the escaping, it still can't reach the network. `unsafe-eval` is for
# plotly.js' parallel coordinates, which compile their shaders' bindings.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; base-uri 'none'; form-action 'none'"
)


def write_report(
    path: str | Path,
    *,
    study: str,
    description: str,
    spec_yaml: str,
    export: Callable[[int, int], str],
    state: str,
    started: datetime | None,
    elapsed_s: float,
    objectives: Sequence[Metric],
    searched: Mapping[str, Choice | Range],
    points: Sequence[EpochPoint],
    front_points: Sequence[EpochPoint],
    trials: Sequence[TrialRow],
    reference: Mapping[str, float] | None = None,
    trace: Sequence[tuple[float, float]] | None = None,
    importances: Mapping[str, Mapping[str, float]] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    hardware: Mapping[str, Plain] | None = None,
    versions: Mapping[str, Plain] | None = None,
    notes: Sequence[str] = (),
    commands: Sequence[str] = (),
    runs_page: str | None = None,
    confirmed: Sequence[Confirmed] = (),
    failed: Mapping[tuple[int, int], Sequence[str]] | None = None,
) -> Path:
    """Write the report under a temporary name, then rename it: a reader never sees half of one.

    `reference`: the study's stored reference point; None: taken from the points. `trace`: (seconds since the start,
    hypervolume); None: drawn over the trials instead. `metrics`: the user's own metrics. `export`: the command
    that exports the point of a trial at an epoch. `confirmed`: points trained again over several seeds;
    `failed`: those of which every run failed, with the reasons.
    Raises InputError where the file can't be written.
    """
    params_by_trial = {t.number: t.params for t in trials}
    best_known = {**(metrics or {}), **{m.name: m for m in objectives}}
    body = [
        heading(study, description, state, started, elapsed_s, trials, points),
        answer(
            front_points,
            objectives,
            params_by_trial,
            searched,
            len(trials),
            len(points),
            confirmed=confirmed_answer(points, confirmed, failed or {}, objectives),
        ),
        _front(points, front_points, objectives, params_by_trial),
        _confirmed(confirmed, failed or {}, front_points, objectives),
        front_section(study, front_points, objectives, params_by_trial, searched, export),
        _curves(points, front_points, objectives),
        _importances(importances or {}),
        _parallel(trials, objectives, searched),
        _hypervolume(points, objectives, reference, trace),
        failures_section(trials),
        commands_section(commands, runs_page),
        notes_section(notes),
        spec_section(spec_yaml),
        surroundings_section(hardware or {}, versions or {}),
        definitions_section(objectives, points, best_known),
    ]
    return _write(Path(path), _page(f"{study} – tune_cnn", "\n".join(body)))


def _front(
    points: Sequence[EpochPoint],
    front_points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    params_by_trial: Mapping[int, Mapping[str, Plain]],
) -> str:
    good = usable(points, objectives)
    if not good:
        return ""
    dominated = len(good) - len({key(p) for p in front_points})
    most = most_dominated(objectives)
    note = (
        "Each dot is a model that one could have stopped at: a trial after one of its epochs. Hover for its settings."
    )
    if dominated > most:
        note += f" Of {dominated:,} points off the front a random {most:,} are drawn."
    if len(front_points) > MOST_FRONT:
        note += f" Of {len(front_points):,} points on the front {MOST_FRONT:,} are drawn, spread evenly."
    if len(points) > len(good):
        note += f" {len(points) - len(good):,} points lack an objective and are not drawn."
    figure = front_figure(points, front_points, objectives, params_by_trial)
    return section("The front", note, _figure("front", figure))


def _confirmed(
    found: Sequence[Confirmed],
    failed: Mapping[tuple[int, int], Sequence[str]],
    front_points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
) -> str:
    figure = _figure("confirmed", confirmed_figure(found, front_points, objectives)) if found else ""
    return confirmed_section(found, failed, objectives, figure)


def _curves(points: Sequence[EpochPoint], front_points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> str:
    good = usable(points, objectives)
    if not good:
        return ""
    count = len({p.trial for p in good})
    note = "How each trial went, epoch by epoch."
    if count > most_curves(good):
        note += f" Of {count:,} trials a random {most_curves(good):,} are drawn, those of the front first."
    return section("Learning curves", note, _figure("curves", curves_figure(points, front_points, objectives)))


def _importances(importances: Mapping[str, Mapping[str, float]]) -> str:
    shown = {objective: shares for objective, shares in importances.items() if shares}
    if not shown:
        return ""
    note = "How much of an objective's variation over the trials each searched parameter explains."
    return section("What mattered", note, _figure("importances", importances_figure(shown)))


def _parallel(trials: Sequence[TrialRow], objectives: Sequence[Metric], searched: Mapping[str, Choice | Range]) -> str:
    ended = [t for t in trials if t.metrics]
    if len(ended) < 2 or not searched:
        return ""
    note = (
        f"One line a trial, after its last epoch; the brighter, the better in {objectives[0].name}. "
        "Drag along an axis to keep only the lines that pass there, drag an axis' name to move it."
    )
    if len(ended) > MOST_LINES:
        note += f" Of {len(ended):,} trials a random {MOST_LINES:,} are drawn."
    figure = parallel_coordinates_figure(ended, objectives, searched)
    return section("All trials, all settings", note, _figure("parallel", figure))


def _hypervolume(
    points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    reference: Mapping[str, float] | None,
    trace: Sequence[tuple[float, float]] | None,
) -> str:
    if trace:
        unit_s, unit = (
            (3600.0, "hours") if trace[-1][0] > 7200 else (60.0, "minutes") if trace[-1][0] > 120 else (1.0, "seconds")
        )
        shown, title = [(x / unit_s, y) for x, y in trace], f"{unit} since the start"
    else:
        shown = [(float(x), y) for x, y in hypervolume_trace(points, objectives, reference)]
        title = "trial"
    if not shown:
        return ""
    note = (
        "What the front has reached against the study's reference point; a flat end says that more trials bring little."
    )
    return section("Hypervolume", note, _figure("hypervolume", hypervolume_figure(shown, title)))


def _figure(name: str, figure: go.Figure) -> str:
    # No text inside may end the script element or open a comment in it. Plotly 7 writes "<" as an escape by itself,
    # but promises it nowhere
    data = figure.to_json().replace("</", "<\\/").replace("<!--", "\\u003c!--")
    height = int(figure.layout.height)
    return (
        f'<div class="figure" id="figure-{name}" style="height:{height}px"></div>\n'
        f'<script type="application/json" class="figure-data" data-figure="figure-{name}">{data}</script>'
    )


def _page(title: str, body: str) -> str:
    here = files("tune_cnn.reports.html.page")
    style = here.joinpath("report.css").read_text(encoding="utf-8")
    script = here.joinpath("report.js").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
<noscript><p class="note">The figures need JavaScript, which this page carries itself.</p></noscript>
</main>
<script>{get_plotlyjs()}</script>
<script>
{script}</script>
</body>
</html>
"""


def _write(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # gone already where the renaming worked
    except OSError as error:
        raise InputError(f"report: {path} can't be written: {error}; choose another file with -o") from None
    return path
