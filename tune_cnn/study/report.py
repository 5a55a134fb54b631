"""What a study leaves to look at: the report, and the front as a figure of its own."""

from pathlib import Path

from tune_cnn.front.confirmed import failed_candidates
from tune_cnn.front.dominance import front
from tune_cnn.metrics import Direction, by_trial, last_points
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.mlflow.environment import is_server, runs_page
from tune_cnn.records.rows import StudyRecord
from tune_cnn.reports.figures.picture import front_picture
from tune_cnn.reports.figures.study import front_figure
from tune_cnn.reports.html.confirmed import confirmed_figure
from tune_cnn.reports.html.page import write_report
from tune_cnn.reports.study_report import StudyReport, TrialRow
from tune_cnn.search.importances import importances
from tune_cnn.search.search import Past
from tune_cnn.spec import to_yaml
from tune_cnn.study.accelerators import transfer_notes, type_of
from tune_cnn.study.archive import confirmed_of, feasible_points, spec_of
from tune_cnn.study.front import Front
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.machine import BY_TYPE
from tune_cnn.study.nodes import notes, summaries


def report_files(archive: StudyArchive, folder: Path, *, commands: NextCommands) -> dict[str, Path]:
    """Write report.html and front.html into a study's folder; by name in MLflow."""
    spec = spec_of(archive)
    points = feasible_points(archive, spec)
    on_front = front(points, spec.objective_metrics)
    params = {trial.number: trial.params for trial in archive.trials}
    figure = folder / "front.html"
    folder.mkdir(parents=True, exist_ok=True)
    front_figure(points, on_front, spec.objective_metrics, params).write_html(figure, include_plotlyjs=True)
    page = report(archive, folder / "report.html", commands=commands)
    files = {"report.html": page, "front.html": figure}
    if on_front:
        files["front.png"] = front_picture(folder / "front.png", points, on_front, spec.objective_metrics)
        files |= candidates(Front(archive), folder / "candidates")
    if found := confirmed_of(archive, spec):
        files["confirmed.html"] = folder / "confirmed.html"
        shown = confirmed_figure(found, on_front, spec.objective_metrics)
        shown.write_html(files["confirmed.html"], include_plotlyjs=True)
    return files


def candidates(of: Front, folder: Path) -> dict[str, Path]:
    """Export the knee and the front's best by each objective, ready for `train`; by name in MLflow.

    Of the confirmed points where there are some, by their means; else of those that were not tried again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {"knee": of.best()}
    points = [one.point for one in of.confirmed if one.on_front] or front(of.untried, of.objectives) or of.points
    for metric in of.objectives:
        sign = -1 if metric.direction is Direction.MAX else 1
        best = min(points, key=lambda point: sign * point.metrics[metric.name])
        chosen[f"best_{metric.name}"] = of.export(best)
    files = {}
    for name, export in chosen.items():
        files[f"candidates/{name}.yaml"] = folder / f"{name}.yaml"
        export.to_yaml(folder / f"{name}.yaml")
    return files


def report(archive: StudyArchive, path: Path, *, commands: NextCommands) -> Path:
    """Write the report of a study: the same of the same records, whoever writes it and wherever."""
    spec, study = spec_of(archive), archive.study
    points = feasible_points(archive, spec)
    last = last_points(archive.points)
    found = StudyReport(
        study=study.name,
        description=spec.description,
        spec_yaml=to_yaml(spec),
        state=study.state,
        started=study.created,
        elapsed_s=study.searched_s,
        objectives=spec.objective_metrics,
        searched=spec.searched,
        points=points,
        front=front(points, spec.objective_metrics),
        trials=[
            TrialRow(
                number=t.number,
                params=t.params,
                state=t.state,
                reason=t.reason,
                metrics=last[t.number].metrics if t.number in last else {},
            )
            for t in archive.trials
        ],
        reference=study.reference,
        importances=importances(spec, _past(archive)),
        metrics=spec.user_metrics,
        hardware=study.info.get("hardware", {}),
        versions=study.info.get("versions", {}),
        accelerators={name: of["hardware"] for name, of in study.info.get(BY_TYPE, {}).items()},
        type_of={trial: name for trial, name in type_of(archive).items() if name is not None},
        notes=[
            *study.info.get("data", {}).get("notes", ()),
            *notes(summaries(archive.nodes)),
            *transfer_notes(archive),
        ],
        commands=[commands.confirm, commands.export, commands.train, commands.front],
        export=commands.export_of,
        runs_page=_runs_page(study),
        confirmed=confirmed_of(archive, spec),
        failed=failed_candidates(archive.confirmations),
    )
    return write_report(path, found)


def _runs_page(study: StudyRecord) -> str | None:
    """At a server that others see too: a page of this machine's own would be another one for them."""
    if study.tracking is None or study.experiment_id is None or not is_server(study.tracking):
        return None
    return runs_page(study.tracking, study.experiment_id)


def _past(archive: StudyArchive) -> list[Past]:
    points = by_trial(archive.points)
    return [Past(params=t.params, state=t.state, points=points.get(t.number, ())) for t in archive.trials]
