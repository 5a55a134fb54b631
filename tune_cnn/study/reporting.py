"""What a study leaves to look at: the report, and the front as a figure of its own."""

from collections.abc import Mapping
from pathlib import Path

from tune_cnn.front.dominance import front
from tune_cnn.objectives import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.reports.figures import front_figure
from tune_cnn.reports.html import write_report
from tune_cnn.reports.trials import TrialRow
from tune_cnn.search.search import Past, Search
from tune_cnn.spec import to_yaml
from tune_cnn.study.archive import feasible_points, spec_of

Importances = Mapping[str, Mapping[str, float]]


def report_files(archive: StudyArchive, folder: Path, *, importances: Importances) -> dict[str, Path]:
    """Write report.html and front.html into a study's folder; by name in MLflow."""
    spec = spec_of(archive)
    points = feasible_points(archive, spec)
    on_front = front(points, spec.objective_metrics)
    params = {trial.number: trial.params for trial in archive.trials}
    figure = folder / "front.html"
    folder.mkdir(parents=True, exist_ok=True)
    front_figure(points, on_front, spec.objective_metrics, params).write_html(figure, include_plotlyjs=True)
    return {"report.html": report(archive, folder / "report.html", importances=importances), "front.html": figure}


def report(archive: StudyArchive, path: Path, *, importances: Importances | None = None) -> Path:
    """Write the report of a study; the importances are worked out anew where none are given."""
    spec, study = spec_of(archive), archive.study
    points = feasible_points(archive, spec)
    last: dict[int, EpochPoint] = {}
    for point in archive.points:
        if point.trial not in last or point.epoch > last[point.trial].epoch:
            last[point.trial] = point
    return write_report(
        path,
        study=study.name,
        description=spec.description,
        spec_yaml=to_yaml(spec),
        state=study.state,
        started=study.created,
        elapsed_s=study.searched_s,
        objectives=spec.objective_metrics,
        searched=spec.searched,
        points=points,
        front_points=front(points, spec.objective_metrics),
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
        importances=_importances(archive) if importances is None else importances,
        metrics=spec.user_metrics,
        hardware=study.info.get("hardware", {}),
        versions=study.info.get("versions", {}),
        notes=study.info.get("data", {}).get("notes", ()),
        commands=next_commands(study.name),
    )


def next_commands(study: str, options: str = "") -> list[str]:
    """What a user does next, to be typed as it stands."""
    return [
        f"tune-cnn export {study}{options} -o best.yaml",
        "tune-cnn train best.yaml",
        f"tune-cnn front {study}{options}",
    ]


def _importances(archive: StudyArchive) -> Importances:
    points: dict[int, list[EpochPoint]] = {}
    for point in archive.points:
        points.setdefault(point.trial, []).append(point)
    ended = [t for t in archive.trials if t.state not in {"running", "interrupted"}]
    past = [Past(params=t.params, state=t.state, points=points.get(t.number, [])) for t in ended]
    return Search(spec_of(archive), past=past).importances()
