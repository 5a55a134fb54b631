"""A study read back from its MLflow server alone, for machines that don't hold its home."""

from dataclasses import dataclass, replace
from datetime import datetime

from mlflow.entities import Run

from tune_cnn.errors import StudyError
from tune_cnn.records.document import StudyArchive, read_document
from tune_cnn.records.mlflow.client import KIND, STARTED, STUDY, UPDATED, Server
from tune_cnn.records.mlflow.environment import absolute_uri, check_uri, database_path, given_by, is_sqlite
from tune_cnn.records.rows import from_ms
from tune_cnn.states import StudyState

EXPERIMENTS = 100  # in one search for runs


def read_study(study: str, tracking_uri: str) -> StudyArchive:
    """The study as it was last sent to the server; StudyError where it isn't there."""
    server = _server(tracking_uri)
    with server.edge():
        experiment = server.client.get_experiment_by_name(study)
    if experiment is None or STUDY not in experiment.tags:
        there = "no study of this name" if experiment is None else "an experiment of this name that is no study"
        raise StudyError(f"study {study!r}: {server.shown} holds {there}; check --home and {given_by(tracking_uri)}")
    parents = list(server.search(experiment.experiment_id, f"tags.`{KIND}` = 'study'"))
    if not parents:
        raise StudyError(
            f"study {study!r}: {server.shown} holds its experiment but no parent run; sync it again, from the home "
            "that holds it"
        )
    parent = min(parents, key=lambda run: (run.info.start_time, run.info.run_id))
    where = f"{server.shown}, run {parent.info.run_id}, points.json"
    archive = read_document(server.download_text(parent.info.run_id, "points.json"), where)
    return replace(archive, study=replace(archive.study, tracking=server.shown))


@dataclass(frozen=True, kw_only=True)
class DeliveredStudy:
    """How a study stood when it was last delivered to its server."""

    name: str
    state: StudyState
    started: datetime
    updated: datetime


def list_studies(tracking_uri: str) -> list[DeliveredStudy]:
    """The studies that a server holds, the last changed first."""
    server = _server(tracking_uri)
    ids = _experiments(server)
    some = [ids[start : start + EXPERIMENTS] for start in range(0, len(ids), EXPERIMENTS)]
    found = [_delivered(run) for few in some for run in server.search(few, f"tags.`{KIND}` = 'study'")]
    return sorted(found, key=lambda study: study.updated, reverse=True)


def _delivered(run: Run) -> DeliveredStudy:
    tags, info = run.data.tags, run.info
    ended = from_ms(info.end_time or info.start_time)
    return DeliveredStudy(
        name=tags[STUDY],
        state=StudyState(tags.get("tune_cnn.state", StudyState.RUNNING)),
        started=datetime.fromisoformat(tags[STARTED]) if STARTED in tags else from_ms(info.start_time),
        updated=datetime.fromisoformat(tags[UPDATED]) if UPDATED in tags else ended,
    )


def _experiments(server: Server) -> list[str]:
    ids: list[str] = []
    token: str | None = None
    while True:
        with server.edge():
            page = server.client.search_experiments(filter_string=f"tags.`{STUDY}` != ''", page_token=token)
        ids += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return ids


def _server(tracking_uri: str) -> Server:
    """Reading makes nothing: where there is no database, MLflow would create one."""
    check_uri(tracking_uri)
    uri = absolute_uri(tracking_uri)
    if is_sqlite(uri) and not database_path(uri).is_file():
        given = given_by(tracking_uri)
        raise StudyError(f"{database_path(uri)}: no such database of MLflow's; check --home and {given}")
    return Server(uri)
