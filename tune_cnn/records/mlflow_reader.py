"""A study read back from its MLflow server alone, for machines that don't hold its home."""

from dataclasses import replace

from tune_cnn.errors import StudyError
from tune_cnn.records.document import StudyArchive, read_document
from tune_cnn.records.mlflow_environment import absolute_uri, database_path, is_sqlite
from tune_cnn.records.mlflow_server import KIND, STUDY, Server


def read_study(study: str, tracking_uri: str) -> StudyArchive:
    """The study as it was last told to the server; StudyError where it isn't there."""
    server = _server(tracking_uri)
    with server.edge():
        experiment = server.client.get_experiment_by_name(study)
    if experiment is None or STUDY not in experiment.tags:
        there = "no study of this name" if experiment is None else "an experiment of this name that is no study"
        raise StudyError(f"study {study!r}: {server.shown} holds {there}; check --home and --tracking-uri")
    parents = list(server.search(experiment.experiment_id, f"tags.`{KIND}` = 'study'"))
    if not parents:
        raise StudyError(f"study {study!r}: {server.shown} holds its experiment but no parent run; `sync` it again")
    parent = min(parents, key=lambda run: (run.info.start_time, run.info.run_id))
    where = f"{server.shown}, run {parent.info.run_id}, points.json"
    archive = read_document(server.download_text(parent.info.run_id, "points.json"), where)
    return replace(archive, study=replace(archive.study, tracking=server.shown))


def list_studies(tracking_uri: str) -> list[str]:
    """The names of the studies that a server holds."""
    server = _server(tracking_uri)
    names: list[str] = []
    token: str | None = None
    while True:
        with server.edge():
            page = server.client.search_experiments(filter_string=f"tags.`{STUDY}` != ''", page_token=token)
        names += [experiment.name for experiment in page]
        token = page.token
        if not token:
            return sorted(names)


def _server(tracking_uri: str) -> Server:
    """Reading makes nothing: where there is no database, MLflow would create one."""
    uri = absolute_uri(tracking_uri)
    if is_sqlite(uri) and not database_path(uri).is_file():
        raise StudyError(f"{database_path(uri)}: no such database of MLflow's; check --home and --tracking-uri")
    return Server(uri)
