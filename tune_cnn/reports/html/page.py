"""The report of a study: one HTML file that holds all it needs and asks nothing of the network."""

from pathlib import Path

from tune_cnn.files import write_whole
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
from tune_cnn.reports.html.confirmed import confirmed_answer, confirmed_figure, confirmed_section
from tune_cnn.reports.html.frame import html_figure, html_page
from tune_cnn.reports.html.sections import (
    answer,
    commands_section,
    definitions_section,
    failures_section,
    front_section,
    heading,
    machine_section,
    notes_section,
    section,
    spec_section,
)
from tune_cnn.reports.study_report import StudyReport
from tune_cnn.reports.thinning import hypervolume_trace, key, usable


def write_report(path: str | Path, study: StudyReport) -> Path:
    """Write the report under a temporary name, then rename it: a reader never sees half of one.

    Raises InputError where the file can't be written.
    """
    known = {**study.metrics, **{m.name: m for m in study.objectives}}
    body = [
        heading(study),
        answer(study, confirmed_answer(study.points, study.confirmed, study.failed, study.objectives)),
        _front(study),
        _confirmed(study),
        front_section(study),
        _curves(study),
        _importances(study),
        _parallel(study),
        _hypervolume(study),
        failures_section(study.trials),
        commands_section(study.commands, study.runs_page),
        notes_section(study.notes),
        spec_section(study.spec_yaml),
        machine_section(study.hardware, study.versions, study.accelerators),
        definitions_section(study.objectives, study.points, known),
    ]
    path = Path(path)
    write_whole(path, html_page(f"{study.study} – tune_cnn", "\n".join(body)))
    return path


def _front(study: StudyReport) -> str:
    good = usable(study.points, study.objectives)
    if not good:
        return ""
    dominated = len(good) - len({key(p) for p in study.front})
    most = most_dominated(study.objectives)
    note = (
        "Each dot is a model that one could have stopped at: a trial after one of its epochs. Hover for its settings."
    )
    if dominated > most:
        note += f" Of {dominated:,} points off the front a random {most:,} are drawn."
    if len(study.front) > MOST_FRONT:
        note += f" Of {len(study.front):,} points on the front {MOST_FRONT:,} are drawn, spread evenly."
    if len(study.points) > len(good):
        note += f" {len(study.points) - len(good):,} points lack an objective and are not drawn."
    figure = front_figure(study.points, study.front, study.objectives, study.params_by_trial)
    return section("The front", note, html_figure("front", figure))


def _confirmed(study: StudyReport) -> str:
    drawn = confirmed_figure(study.confirmed, study.front, study.objectives) if study.confirmed else None
    figure = html_figure("confirmed", drawn) if drawn is not None else ""
    return confirmed_section(study.confirmed, study.failed, study.objectives, figure)


def _curves(study: StudyReport) -> str:
    good = usable(study.points, study.objectives)
    if not good:
        return ""
    count = len({p.trial for p in good})
    note = "How each trial went, epoch by epoch."
    if count > most_curves(good):
        note += f" Of {count:,} trials a random {most_curves(good):,} are drawn, those of the front first."
    figure = curves_figure(study.points, study.front, study.objectives)
    return section("Learning curves", note, html_figure("curves", figure))


def _importances(study: StudyReport) -> str:
    drawn = {objective: shares for objective, shares in study.importances.items() if shares}
    if not drawn:
        return ""
    note = "How much of an objective's variation over the trials each searched parameter explains."
    return section("What mattered", note, html_figure("importances", importances_figure(drawn)))


def _parallel(study: StudyReport) -> str:
    ended = [t for t in study.trials if t.metrics]
    if len(ended) < 2 or not study.searched:
        return ""
    note = (
        f"One line a trial, after its last epoch; the brighter, the better in {study.objectives[0].name}. "
        "Drag along an axis to keep only the lines that pass there, drag an axis' name to move it."
    )
    if len(ended) > MOST_LINES:
        note += f" Of {len(ended):,} trials a random {MOST_LINES:,} are drawn."
    figure = parallel_coordinates_figure(ended, study.objectives, study.searched)
    return section("All trials, all settings", note, html_figure("parallel", figure))


def _hypervolume(study: StudyReport) -> str:
    trace = [(float(x), y) for x, y in hypervolume_trace(study.points, study.objectives, study.reference)]
    if not trace:
        return ""
    note = (
        "What the front has reached against the study's reference point; a flat end says that more trials bring little."
    )
    return section("Hypervolume", note, html_figure("hypervolume", hypervolume_figure(trace, "trial")))
