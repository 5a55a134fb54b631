"""A tracking server as the outbox and the reader see it: MLflow's client within its limits, errors sorted."""

import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import (
    MAX_METRICS_PER_BATCH,
    MAX_PARAM_VAL_LENGTH,
    MAX_PARAMS_TAGS_PER_BATCH,
    MAX_TAG_VAL_LENGTH,
)

from tune_cnn.errors import TuneCnnError
from tune_cnn.records.mlflow.environment import (
    artifact_folder,
    database_folder,
    database_path,
    given_by,
    is_sqlite,
    secrets_of,
    shown_uri,
)
from tune_cnn.records.mlflow.tables import make_tables
from tune_cnn.spec import DataSpec
from tune_cnn.untyped import Plain, Untyped

STUDY, UID, TRIAL = "tune_cnn.study", "tune_cnn.uid", "tune_cnn.trial"
STARTED, UPDATED = "tune_cnn.started", "tune_cnn.updated"  # of the parent run, ISO 8601
RUNS = "tune_cnn.runs"  # of the parent run, the address of its study's runs in MLflow's page
KIND = "tune_cnn.kind"  # of a run: "study" or "trial"
PAGE = 1000
HALF = MAX_PARAMS_TAGS_PER_BATCH // 2  # parameters and tags of one request
MAX_BATCH_CHARS = 400_000  # of parameters or tags in one request; MLflow takes 1 MB in all
QUICK_RETRIES_S = (0.2, 1.0)  # between one request's tries; whoever calls is patient for longer
QUICK_S = 3.0  # a request that failed only after so long is not tried again at once
T = TypeVar("T")


class Unreachable(TuneCnnError):
    """The server can't be reached now; it may be able to later. `passing`: perhaps at once."""

    passing = False


class Refused(TuneCnnError):
    """The server won't take it until somebody changes something."""

    exit_code = 2


class Foreign(Refused):
    """The study's name is taken there, by what is not ours."""


class NotMlflow(Refused):
    """Something else answers there; where MLflow answered before, a proxy's page while it is away."""


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    run_id: str
    deleted: bool
    status: str
    tags: Mapping[str, str]


class Server:
    """MLflow's client; each failure is Unreachable or Refused, in one sentence without secrets."""

    def __init__(self, tracking_uri: str) -> None:
        self.shown = shown_uri(tracking_uri)
        self._uri = tracking_uri
        with self.edge(), _one_creates(tracking_uri):
            self.client = MlflowClient(tracking_uri=tracking_uri)
            self.client.search_experiments(max_results=1)  # makes and checks a database's tables

    @contextmanager
    def edge(self) -> Iterator[None]:
        try:
            yield
        except TuneCnnError:
            raise
        except MlflowException as error:
            raise self._sorted(error) from error
        except Exception as error:  # requests', SQLAlchemy's and the artifact stores' own
            raise Unreachable(f"{self.shown}: {self._line(error)}") from error

    def ask(self, request: Callable[[], T]) -> T:
        """A request that may be repeated without harm, and is where the server failed quickly."""
        for wait_s in QUICK_RETRIES_S:
            began_s = time.monotonic()
            try:
                with self.edge():
                    return request()
            except Unreachable as error:
                if not error.passing or time.monotonic() - began_s > QUICK_S:
                    raise
            time.sleep(wait_s)
        with self.edge():
            return request()

    def experiment(self, study: str, uid: str) -> str:
        """The id of the study's experiment, made, or restored where it was deleted; Refused where it isn't ours."""
        with self.edge():
            found = self.client.get_experiment_by_name(study)
            if found is None:
                place = self.place_of(study)
                tags = {STUDY: study, UID: uid, "mlflow.experimentKind": "custom_model_development"}
                return str(self.client.create_experiment(study, artifact_location=place, tags=tags))
            self._refuse_foreign(found, study, uid)
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def place_of(self, experiment: str) -> str | None:
        """Where an experiment's artifacts shall lie; None where the server decides on it."""
        folder = artifact_folder(self._uri)
        return None if folder is None else str(folder / experiment)

    def _refuse_foreign(self, found: Experiment, study: str, uid: str) -> None:
        if found.tags.get(UID) == uid:
            return
        trash = ", in its trash" if found.lifecycle_stage == "deleted" else ""
        whose = "another study of this name" if STUDY in found.tags else "something else than a study of ours"
        raise Foreign(
            f"{self.shown}: the experiment {study!r} (id {found.experiment_id}{trash}) holds {whose}; rename it there, "
            "search under another name, or give another --tracking-uri"
        )

    def runs(self, experiment_id: str) -> dict[int | None, list[KnownRun]]:
        """The study's runs by trial (None: the parent), deleted ones too; of several for one, the one to use first."""
        found: dict[int | None, list[tuple[bool, int, str, KnownRun]]] = {}
        for run in self.search(experiment_id, f"tags.`{STUDY}` != ''", ViewType.ALL):
            deleted = run.info.lifecycle_stage == "deleted"
            known = KnownRun(run_id=run.info.run_id, deleted=deleted, status=run.info.status, tags=run.data.tags)
            trial = run.data.tags.get(TRIAL)
            key = None if trial is None else int(trial)
            found.setdefault(key, []).append((deleted, run.info.start_time, run.info.run_id, known))
        return {key: [known for *_, known in sorted(some, key=lambda r: r[:3])] for key, some in found.items()}

    def search(
        self, experiments: str | list[str], filter_string: str, view: int = ViewType.ACTIVE_ONLY
    ) -> Iterator[Run]:
        ids = [experiments] if isinstance(experiments, str) else experiments
        token: str | None = None
        while True:
            page = self.ask(partial(self.client.search_runs, ids, filter_string, view, PAGE, None, token))
            yield from page
            token = page.token
            if not token:
                return

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        with self.edge():
            run = self.client.create_run(experiment_id, start_time=start_ms, tags=_short(tags), run_name=name)
            return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log any number of each, in batches that MLflow takes; a repeat adds nothing."""
        some_metrics = _chunks(list(metrics), MAX_METRICS_PER_BATCH - MAX_PARAMS_TAGS_PER_BATCH)
        some_params = _chunks([Param(k, v[:MAX_PARAM_VAL_LENGTH]) for k, v in (params or {}).items()], HALF)
        some_tags = _chunks([RunTag(k, v) for k, v in _short(tags or {}).items()], HALF)
        for batch in zip_longest(some_metrics, some_params, some_tags):
            metrics_n, params_n, tags_n = (part or [] for part in batch)
            self.ask(partial(self.client.log_batch, run_id, metrics_n, params_n, tags_n))

    def log_dataset(self, run_id: str, facts: Mapping[str, Plain], data: DataSpec) -> None:
        """The images as the run's input; sent twice, MLflow keeps one."""
        dataset = Dataset(
            name=data.name[:500],
            digest=str(facts.get("key", "unknown"))[:36],
            source_type="local",
            source=json.dumps({"uri": data.root}),
            profile=json.dumps(dict(facts), default=str),
        )
        datasets = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        self.ask(partial(self.client.log_inputs, run_id, datasets=datasets))

    def delete_tags(self, run_id: str, names: Sequence[str]) -> None:
        for name in names:
            try:
                self.ask(partial(self.client.delete_tag, run_id, name))
            except TuneCnnError as error:  # gone already: the reply to an earlier try was lost
                if "No tag with name" not in str(error):
                    raise

    def upload(self, run_id: str, name: str, source: str | Path) -> None:
        """Put text, or a file, into a run as the artifact `name`, which may have folders."""
        target = PurePosixPath(name)
        folder = None if str(target.parent) == "." else str(target.parent)
        with self.edge(), tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / target.name
            if isinstance(source, Path):
                local.symlink_to(source)  # MLflow names an artifact as its file is named
            else:
                local.write_text(source, encoding="utf-8")
            self.ask(partial(self.client.log_artifact, run_id, str(local), folder))

    def download_text(self, run_id: str, name: str) -> str:
        with self.edge(), tempfile.TemporaryDirectory() as scratch:
            path = self.ask(partial(self.client.download_artifacts, run_id, name, scratch))
            return Path(path).read_text(encoding="utf-8")

    def _sorted(self, error: MlflowException) -> TuneCnnError:
        text, code = self._line(error), error.error_code
        if "Invalid Host header" in str(error):  # 403, like a login that lacks a right
            return Refused(
                f"{self.shown}: the server is not known by this name; use one of its names, or start it with this one "
                "among its --allowed-hosts"
            )
        if code in {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}:
            return Refused(
                f"{self.shown}: the server doesn't let us in ({code}); check MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and try again"
            )
        if code == "ENDPOINT_NOT_FOUND" or "error code 404" in text or "not in a valid JSON format" in text:
            return NotMlflow(f"{self.shown}: what answers there is not an MLflow server; check {given_by(self._uri)}")
        if "database schema" in text:
            return Refused(
                f"{self.shown}: its tables are of another MLflow version; run `mlflow db upgrade {self.shown}`, or use "
                "the MLflow version that wrote them"
            )
        if "nsupported" in text and "URI" in text:
            return Refused(f"{self.shown}: is no tracking URI that MLflow knows; give http(s)://… or sqlite:///…")
        away = "API request to" in text and "failed with exception" in text
        unreachable = Unreachable(f"{self.shown}: {'server unreachable' if away else text}")
        unreachable.passing = away or code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
        return unreachable

    def _line(self, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        line = lines[0].replace(self._uri, self.shown)
        for secret in secrets_of(self._uri):
            line = line.replace(secret, "…")
        return line[:300]


@contextmanager
def _one_creates(tracking_uri: str) -> Iterator[None]:
    """Two processes that find no tables in a SQLite file would both make them, and one would fail half-way."""
    if not is_sqlite(tracking_uri):
        yield
        return
    database_folder(tracking_uri).mkdir(parents=True, exist_ok=True)
    path = database_path(tracking_uri)
    try:  # never through a link that somebody has laid there, and nobody else may hold it
        lock = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS}:
            raise
        yield  # a folder that can only be read: nobody makes tables there
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_tables(path)
        yield
    finally:
        os.close(lock)


def _short(tags: Mapping[str, str]) -> dict[str, str]:
    limit = MAX_TAG_VAL_LENGTH - 1
    return {name: value if len(value) <= limit else value[: limit - 1] + "…" for name, value in tags.items()}


def _chunks(items: Sequence[Untyped], size: int) -> list[list[Untyped]]:
    """The items in lists of `size` at most, and of MAX_BATCH_CHARS as the request spells them."""
    chunks: list[list[Untyped]] = []
    chars = 0
    for item in items:
        length = 100 if isinstance(item, Metric) else len(json.dumps(item.value))
        if not chunks or len(chunks[-1]) == size or chars + length > MAX_BATCH_CHARS:
            chunks.append([])
            chars = 0
        chunks[-1].append(item)
        chars += length
    return chunks
