"""Telling MLflow what the study's tables hold: each change once, whatever was told before and then forgotten."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Metric

from tune_cnn.records.description import describe, odd_free, params_of, study_params
from tune_cnn.records.document import write_document
from tune_cnn.records.mlflow_front import FrontTags
from tune_cnn.records.mlflow_runs import StudyRuns, record_of
from tune_cnn.records.mlflow_server import Server
from tune_cnn.records.offers import Growth, constraints_of, growth
from tune_cnn.records.rows import Change, PointRecord, StudyRecord, StudyState, TrialRecord, to_ms
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec, to_yaml

BATCH = 1000  # changes between two marks of what was delivered
DOCUMENT_EVERY_S = 30.0  # while a search runs; at most a twentieth of the time goes into writing points.json
LONG_PARAM = 6000  # characters that MLflow keeps of a parameter's value
_STATUS = {"running": "RUNNING", "complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
_STUDY_STATUS = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class Delivery:
    """One connection's work on one study; made anew after a failure, as what the server then holds is unknown."""

    def __init__(
        self, store: Store, study: str, server: Server, *, orphaned: bool = False, retried: bool = False
    ) -> None:
        """`orphaned`: the search's process has died without a word, so nothing of the study is running. `retried`:
        an earlier connection failed, perhaps with requests under way that the server may yet commit.
        """
        self._store = store
        self._study = study
        self._server = server
        self.orphaned = orphaned
        self._retried = retried
        self._points: list[PointRecord] = []
        self._document_due_s = 0.0
        self._document_told: tuple[object, ...] = ()
        self._spec_told = ""
        self._grown_told = 0
        self._runs = StudyRuns(store, study, server)
        self._front = FrontTags(server, self._runs)

    def deliver(self) -> int:
        """Tell the next changes; returns how many, 0 when none wait."""
        changes = self._store.undelivered(self._study, BATCH)
        if not changes:
            return 0
        record = self._record()
        spec = parse_spec(record.spec, f"study {self._study!r}")
        trials = self._read()
        self._tell_trials(record, trials, changes)
        if any(change.kind == "study" for change in changes):
            self._tell_study(record, spec)
            self._tell_statuses(record, trials.values())
        self._tell_artifacts({c.name for c in changes if c.kind == "artifact" and c.name})
        if len(changes) < BATCH:  # else more wait, and the front is told with the last of them
            self._tell_front(record, spec, trials)
        self._store.mark_delivered(self._study, [change.id for change in changes])
        return len(changes)

    def settle(self, *, ended: bool) -> None:
        """What is told once no change waits: the whole study as points.json and in words; `ended`: without delay."""
        record = self._record()
        trials = self._read()
        state = (record.updated, record.state, len(self._points), ended, self.orphaned)
        if state == self._document_told or not (ended or time.monotonic() >= self._document_due_s):
            return
        began_s = time.monotonic()
        spec = parse_spec(record.spec, f"study {self._study!r}")
        self._tell_front(record, spec, trials)  # else lost, had an outbox died between the points and the front
        self._tell_description(record, spec, trials.values())
        if ended:
            self._tell_statuses(record, trials.values())
        if ended and self._retried:
            self._runs.remove_doubles()
        text = write_document(self._record(), self._store.trials(self._study), self._points)  # with the runs' ids
        self._server.upload(self._runs.parent, "points.json", text)
        self._document_told = state
        took_s = time.monotonic() - began_s
        self._document_due_s = time.monotonic() + max(DOCUMENT_EVERY_S, 20 * took_s)

    def _record(self) -> StudyRecord:
        return record_of(self._store, self._study)

    def _read(self) -> dict[int, TrialRecord]:
        """The newest points, and then the trials: so that there is a trial to each point."""
        last = self._points[-1].id if self._points else None
        self._points += self._store.points(self._study, after_id=last)
        return {trial.number: trial for trial in self._store.trials(self._study)}

    def _state(self, record: StudyRecord) -> StudyState:
        return "interrupted" if self.orphaned and record.state == "running" else record.state

    # The parent run

    def _tell_study(self, record: StudyRecord, spec: StudySpec) -> None:
        self._server.log(self._runs.parent, params=study_params(spec), tags={"tune_cnn.state": self._state(record)})
        self._upload_long_params(self._runs.parent, study_params(spec))
        text = to_yaml(spec)
        if text != self._spec_told:
            self._server.upload(self._runs.parent, "spec.yaml", text)
            self._runs.tell_dataset(self._runs.parent, record.info.get("data") or {}, spec.data)
            self._spec_told = text

    def _tell_description(self, record: StudyRecord, spec: StudySpec, trials: Iterable[TrialRecord]) -> None:
        grown = self._grown(record, spec)
        counts = Counter(str(trial.state) for trial in trials)
        shown = replace(record, state=self._state(record))
        text = describe(spec, shown, counts, grown[-1].hypervolume if grown else None)
        self._server.log(self._runs.parent, tags={"mlflow.note.content": text})
        metrics = [
            Metric(name, value, g.reported_ms, g.points)
            for g in grown[self._grown_told :]
            for name, value in (("hypervolume", g.hypervolume), ("front_size", float(g.front_size)))
        ]
        self._server.log(self._runs.parent, metrics=metrics)
        self._grown_told = len(grown)

    def _grown(self, record: StudyRecord, spec: StudySpec) -> list[Growth]:
        if not record.reference:
            return []
        return growth(self._points, spec.objective_metrics, constraints_of(spec), record.reference)

    def _tell_artifacts(self, names: set[str]) -> None:
        paths = self._store.artifacts(self._study)
        for name in sorted(names):
            path = Path(paths[name])
            if path.is_file():
                self._server.upload(self._runs.parent, name, path)
            else:  # waiting would help nothing: say it where the file is looked for
                self._server.log(self._runs.parent, tags={f"tune_cnn.missing.{odd_free(name)}": f"{path} is gone"})

    # The trials' runs

    def _tell_trials(self, record: StudyRecord, trials: Mapping[int, TrialRecord], changes: Iterable[Change]) -> None:
        moved = {c.trial for c in changes if c.kind == "trial" and c.trial is not None}
        epochs: dict[int, set[int]] = {}
        for change in changes:
            if change.kind == "point" and change.trial is not None and change.epoch is not None:
                epochs.setdefault(change.trial, set()).add(change.epoch)
        news: dict[int, list[Metric]] = {number: [] for number in sorted(moved | epochs.keys())}
        for point in self._points:
            if point.epoch in epochs.get(point.trial, ()):
                news[point.trial] += _metrics(point)
        for number, metrics in news.items():
            self._tell_trial(record, trials[number], metrics, moved=number in moved)

    def _tell_trial(self, record: StudyRecord, trial: TrialRecord, metrics: list[Metric], *, moved: bool) -> None:
        run_id = self._runs.of_trial(trial)
        if not moved:
            self._server.log(run_id, metrics=metrics)
            return
        params = params_of(trial.params)
        tags = {"tune_cnn.state": trial.state, "tune_cnn.origin": trial.origin, "tune_cnn.seed": str(trial.seed)}
        tags |= {"tune_cnn.attempts": str(trial.attempts)} | ({"tune_cnn.reason": trial.reason} if trial.reason else {})
        self._server.log(run_id, metrics=metrics, params=params, tags=tags)
        if trial.attempts > 1 and not trial.reason:  # of the attempt before
            self._server.delete_tags(run_id, ["tune_cnn.reason"])
        self._upload_long_params(run_id, params)
        self._tell_statuses(record, [trial])

    def _upload_long_params(self, run_id: str, params: Mapping[str, str]) -> None:
        if any(len(value) > LONG_PARAM for value in params.values()):
            self._server.upload(run_id, "params.json", json.dumps(params, indent=1))

    def _tell_statuses(self, record: StudyRecord, trials: Iterable[TrialRecord]) -> None:
        """A trial that runs while its study doesn't was killed; it runs again when the study is resumed."""
        state = self._state(record)
        for trial in trials:
            status = _STATUS.get(trial.state, "FAILED")
            if trial.state == "running" and state != "running":
                status = "KILLED"
            ended = trial.ended or record.updated
            self._runs.tell_status(self._runs.of_trial(trial), status, to_ms(ended))
        self._runs.tell_status(self._runs.parent, _STUDY_STATUS[state], to_ms(record.updated))

    def _tell_front(self, record: StudyRecord, spec: StudySpec, trials: Mapping[int, TrialRecord]) -> None:
        stamp_ms = max(to_ms(record.updated), self._points[-1].reported_ms if self._points else 0)
        self._front.tell(self._points, trials, spec, record.reference, stamp_ms)


def _metrics(point: PointRecord) -> list[Metric]:
    """With the stored time: told again, they are the very same rows to MLflow."""
    return [Metric(odd_free(name), value, point.reported_ms, point.epoch) for name, value in point.metrics.items()]
