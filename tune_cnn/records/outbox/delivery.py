"""Delivering to MLflow what the study's tables hold: each change once, whatever was sent before and then forgotten."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Metric

from tune_cnn.records.document import write_document
from tune_cnn.records.front_history import Growth, confirmed_candidates, growth
from tune_cnn.records.mlflow.client import RUNS, STARTED, UPDATED, Server
from tune_cnn.records.mlflow.confirmed import confirmed_words, send_confirmed
from tune_cnn.records.mlflow.description import describe, numbers_of, odd_free, params_of, study_params
from tune_cnn.records.mlflow.environment import runs_page
from tune_cnn.records.mlflow.front import FrontTags
from tune_cnn.records.mlflow.runs import StudyRuns, record_of
from tune_cnn.records.rows import Change, PointRecord, StudyRecord, TrialRecord, to_ms
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec, to_yaml
from tune_cnn.states import StudyState, TrialState
from tune_cnn.untyped import Plain

BATCH = 1000  # changes that are looked at together: what is sent of one trial goes in one request
MARKED_AFTER = 50  # changes; who waits sees by it that a slow server moves
DOCUMENT_EVERY_S = 30.0  # while a search runs; at most a twentieth of the time goes into writing points.json
LONG_PARAM = 6000  # characters that MLflow keeps of a parameter's value
_STATUS = {TrialState.RUNNING: "RUNNING", TrialState.COMPLETE: "FINISHED", TrialState.STOPPED: "FINISHED"}
_STUDY_STATUS = {
    StudyState.RUNNING: "RUNNING",
    StudyState.FINISHED: "FINISHED",
    StudyState.INTERRUPTED: "KILLED",
    StudyState.FAILED: "FAILED",
}


class Delivery:
    """One connection's work on one study; made anew after a failure, as what the server then holds is unknown."""

    def __init__(
        self,
        store: Store,
        study: str,
        server: Server,
        *,
        orphaned: bool = False,
        retried: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`orphaned`: the search's process has died without a word, so nothing of the study is running. `retried`:
        an earlier connection failed, perhaps with requests under way that the server may yet commit.
        """
        self._clock = clock
        self._store = store
        self._study = study
        self._server = server
        self.orphaned = orphaned
        self._retried = retried
        self.moved = False  # whether the server took anything yet
        self._points: list[PointRecord] = []
        self._place: dict[tuple[int, int | None], int] = {}  # of a trial's epoch in the list of points
        self._document_due_s = 0.0
        self._document_sent: tuple[object, ...] = ()
        self._spec_sent = ""
        self._grown_sent = 0
        spec = parse_spec(self._record().spec, f"study {study!r}")
        self._searched, self._objectives = spec.searched, spec.objectives
        self._runs = StudyRuns(store, study, server, self._searched)
        self._front = FrontTags(server, self._runs)

    def deliver(self) -> int:
        """Deliver the next changes; returns how many, 0 when none wait."""
        changes = self._store.deliveries.waiting(self._study, BATCH)
        if not changes:
            return 0
        record = self._record()
        spec = parse_spec(record.spec, f"study {self._study!r}")
        trials = self._read()
        delivered: list[int] = []
        try:
            self._send_changes(record, spec, trials, changes, delivered)
        finally:  # what a server took before it failed is not sent again
            self._mark(delivered)
        if len(changes) < BATCH:  # else more wait, and the front is sent with the last of them; `settle` repeats it
            self._send_front(record, spec, trials)
        return len(changes)

    def _mark(self, delivered: list[int]) -> None:
        self.moved |= bool(delivered)
        self._store.deliveries.acknowledge(self._study, delivered)
        delivered.clear()

    def _send_changes(
        self,
        record: StudyRecord,
        spec: StudySpec,
        trials: Mapping[int, TrialRecord],
        changes: Iterable[Change],
        delivered: list[int],
    ) -> None:
        """Part by part; `delivered` holds the ids of what the server has taken and the store has not acknowledged."""
        parts: dict[tuple[str, Plain], list[Change]] = {}
        for change in changes:
            parts.setdefault(_part(change), []).append(change)
        for (kind, which), some in sorted(parts.items(), key=lambda part: _ORDER[part[0][0]]):
            if kind == "trial":
                self._send_changed(record, trials[which], some)
            elif kind == "study":
                self._send_study(record, spec)
                known = {number: trials[number] for number in self._runs.known_trials() if number in trials}
                self._send_statuses(record, known.values())  # the others' comes with their own changes
            elif kind == "confirmed":
                seed_runs = self._store.confirmations.runs(self._study)
                stamp_ms, images = max(change.made_ms for change in some), record.info.get("data") or {}
                send_confirmed(self._server, self._runs, seed_runs, trials, spec, stamp_ms, images)
            else:
                self._send_artifact(which)
            delivered += [change.id for change in some]
            if len(delivered) >= MARKED_AFTER:
                self._mark(delivered)

    def settle(self, *, ended: bool) -> None:
        """What is sent once no change waits: the whole study as points.json and in words; `ended`: without delay."""
        record = self._record()
        trials = self._read()
        state = (record.updated, record.state, len(self._points), ended, self.orphaned)
        if state == self._document_sent or not (ended or self._clock() >= self._document_due_s):
            return
        began_s = self._clock()
        spec = parse_spec(record.spec, f"study {self._study!r}")
        self._send_front(record, spec, trials)  # else lost, had an outbox died between the points and the front
        self._send_description(record, spec, trials.values())
        if ended:
            self._send_statuses(record, trials.values())
        if ended and self._retried:
            self._runs.remove_doubles()
        of = self._study
        seed_runs = self._store.confirmations.runs(of)
        nodes = self._store.nodes.of(of)
        found, there = self._store.measurements.of(of), self._store.confirmations.elsewhere(of)
        with_ids = self._store.trials(of)  # of their runs
        text = write_document(
            self._record(), with_ids, self._points, seed_runs, nodes, measurements=found, elsewhere=there
        )
        self._server.upload(self._runs.parent, "points.json", text)
        self._document_sent = state
        took_s = self._clock() - began_s
        self._document_due_s = self._clock() + max(DOCUMENT_EVERY_S, 20 * took_s)

    def _record(self) -> StudyRecord:
        return record_of(self._store, self._study)

    def _read(self) -> dict[int, TrialRecord]:
        """The newest points, and then the trials: so that there is a trial to each point."""
        last = self._points[-1].id if self._points else None
        for point in self._store.points(self._study, after_id=last):
            self._place[point.trial, point.epoch] = len(self._points)
            self._points.append(point)
        return {trial.number: trial for trial in self._store.trials(self._study)}

    def _state(self, record: StudyRecord) -> StudyState:
        return StudyState.INTERRUPTED if self.orphaned and record.state is StudyState.RUNNING else record.state

    # The parent run

    def _send_study(self, record: StudyRecord, spec: StudySpec) -> None:
        self._server.log(self._runs.parent, params=study_params(spec), tags={"tune_cnn.state": self._state(record)})
        self._upload_long_params(self._runs.parent, study_params(spec))
        text = to_yaml(spec)
        if text != self._spec_sent:
            self._server.upload(self._runs.parent, "spec.yaml", text)
            self._server.log_dataset(self._runs.parent, record.info.get("data") or {}, spec.data)
            self._spec_sent = text

    def _send_description(self, record: StudyRecord, spec: StudySpec, trials: Iterable[TrialRecord]) -> None:
        grown = self._grown(record, spec)
        counts = Counter(str(trial.state) for trial in trials)
        shown = replace(record, state=self._state(record))
        text = describe(spec, shown, counts, grown[-1].hypervolume if grown else None)
        found = confirmed_candidates(self._store.confirmations.runs(self._study), spec, record.info.get("data") or {})
        text += confirmed_words(found, spec.objectives)
        tags = {STARTED: record.started.isoformat(), UPDATED: record.updated.isoformat()}
        if page := runs_page(self._server.shown, self._runs.experiment_id):
            tags[RUNS] = page
        self._server.log(self._runs.parent, tags={"mlflow.note.content": text} | tags)
        metrics = [
            Metric(name, value, g.reported_ms, g.points)
            for g in grown[self._grown_sent :]
            for name, value in (("hypervolume", g.hypervolume), ("front_size", float(g.front_size)))
        ]
        self._server.log(self._runs.parent, metrics=metrics)
        self._grown_sent = len(grown)

    def _grown(self, record: StudyRecord, spec: StudySpec) -> list[Growth]:
        if not record.reference:
            return []
        return growth(self._points, spec.objective_metrics, spec.bounds, record.reference)

    def _send_artifact(self, name: str) -> None:
        path = Path(self._store.deliveries.artifacts(self._study)[name])
        if path.is_file():
            self._server.upload(self._runs.parent, name, path)
        else:  # waiting would help nothing: say it where the file is looked for
            self._server.log(self._runs.parent, tags={f"tune_cnn.missing.{odd_free(name)}": f"{path} is gone"})

    # The trials' runs

    def _send_changed(self, record: StudyRecord, trial: TrialRecord, changes: Iterable[Change]) -> None:
        epochs = [change.epoch for change in changes if change.kind == "point"]
        points = [self._points[self._place[trial.number, epoch]] for epoch in epochs]
        metrics = [m for point in points for m in _metrics(point, self._objectives)]
        moved = any(change.kind == "trial" for change in changes)
        if 1 in epochs or (moved and trial.state is not TrialState.RUNNING):  # after the objectives: see `_metrics`
            stamp_ms = to_ms(trial.started)
            numbers = numbers_of(trial.params, self._searched)
            metrics += [Metric(name, value, stamp_ms, 0) for name, value in numbers.items()]
        self._send_trial(record, trial, metrics, moved=moved)

    def _send_trial(self, record: StudyRecord, trial: TrialRecord, metrics: list[Metric], *, moved: bool) -> None:
        run_id = self._runs.of_trial(trial)
        if not moved:
            self._server.log(run_id, metrics=metrics)
            return
        params = params_of(trial.params)
        tags = {"tune_cnn.state": trial.state, "tune_cnn.origin": trial.origin, "tune_cnn.seed": str(trial.seed)}
        tags |= {"tune_cnn.accelerator": str(kind)} if (kind := trial.extra.get("accelerator")) else {}
        tags |= {"tune_cnn.attempts": str(trial.attempts)} | ({"tune_cnn.reason": trial.reason} if trial.reason else {})
        self._server.log(run_id, metrics=metrics, params=params, tags=tags)
        if trial.attempts > 1 and not trial.reason:  # of the attempt before
            self._server.delete_tags(run_id, ["tune_cnn.reason"])
        self._upload_long_params(run_id, params)
        self._send_statuses(record, [trial])

    def _upload_long_params(self, run_id: str, params: Mapping[str, str]) -> None:
        if any(len(value) > LONG_PARAM for value in params.values()):
            self._server.upload(run_id, "params.json", json.dumps(params, indent=1))

    def _send_statuses(self, record: StudyRecord, trials: Iterable[TrialRecord]) -> None:
        """A trial that runs while its study doesn't was killed; it runs again when the study is resumed."""
        state = self._state(record)
        for trial in trials:
            status = _STATUS.get(trial.state, "FAILED")
            if trial.state is TrialState.RUNNING and state is not StudyState.RUNNING:
                status = "KILLED"
            ended = trial.ended or record.updated
            self._runs.send_status(self._runs.of_trial(trial), status, to_ms(ended))
        self._runs.send_status(self._runs.parent, _STUDY_STATUS[state], to_ms(record.updated))

    def _send_front(self, record: StudyRecord, spec: StudySpec, trials: Mapping[int, TrialRecord]) -> None:
        stamp_ms = max(to_ms(record.updated), self._points[-1].reported_ms if self._points else 0)
        self._front.send(self._points, trials, spec, record.reference, stamp_ms)


_ORDER = {"trial": 0, "confirmed": 1, "study": 2, "artifact": 3}


def _part(change: Change) -> tuple[str, Plain]:
    """What is sent together: a trial with its points, all that is confirmed, the study, an artifact."""
    if change.kind == "artifact":
        return "artifact", change.name
    if change.kind == "confirmed":
        return "confirmed", None
    return ("study", None) if change.kind == "study" else ("trial", change.trial)


def _metrics(point: PointRecord, first: Sequence[str]) -> list[Metric]:
    """With the stored time: sent again, they are the very same rows to MLflow. The `first` are those that its pages
    choose by themselves."""
    every = {name: point.metrics[name] for name in first if name in point.metrics} | {**point.metrics, **point.system}
    return [Metric(odd_free(name), value, point.reported_ms, point.epoch) for name, value in every.items()]
