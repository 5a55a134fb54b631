"""Which run in MLflow records what: found before made, so that none is doubled."""

from collections.abc import Collection, Mapping
from functools import partial

from tune_cnn.errors import StudyError
from tune_cnn.records.mlflow.client import KIND, STUDY, TRIAL, UID, KnownRun, Server
from tune_cnn.records.mlflow.description import trial_name
from tune_cnn.records.mlflow.environment import user_name
from tune_cnn.records.rows import StudyRecord, TrialRecord, to_ms
from tune_cnn.records.store import Store


class StudyRuns:
    """The experiment, the parent run and the trials' runs of one study on one server."""

    def __init__(self, store: Store, study: str, server: Server, searched: Collection[str]) -> None:
        self._store = store
        self._server = server
        self._searched = searched
        self._record = record_of(store, study)
        self.experiment_id = server.experiment(study, self._record.uid)
        self._found = server.runs(self.experiment_id)
        self._sent = {run.run_id: run.status for some in self._found.values() for run in some}
        self._forget_what_is_not_there()
        self._stored: dict[int | None, str | None] = {t.number: t.run_id for t in store.trials(study)}
        self._stored[None] = record_of(store, study).run_id
        for key, some in self._found.items():  # of two, the one that we chose before: it has the data
            some.sort(key=lambda run: run.run_id != self._stored.get(key))
        for some in self._found.values():
            if some[0].deleted:
                server.ask(partial(server.client.restore_run, some[0].run_id))
        self.parent = self._parent()

    def tags_of(self, trial: int) -> Mapping[str, str]:
        """The tags that a trial's run had when we came."""
        return self._found[trial][0].tags if trial in self._found else {}

    def known_trials(self) -> list[int]:
        return [trial for trial in self._found if trial is not None]

    def of_trial(self, trial: TrialRecord) -> str:
        if trial.number not in self._found:
            tags = self._tags("trial") | {TRIAL: str(trial.number), "mlflow.parentRunId": self.parent}
            self._make(trial.number, trial_name(trial, self._searched), to_ms(trial.started), tags)
        return self._kept(trial.number)

    def send_status(self, run_id: str, status: str, ended_ms: int) -> None:
        if self._sent.get(run_id) == status:
            return
        client = self._server.client
        if status == "RUNNING":
            self._server.ask(partial(client.update_run, run_id, status=status))
        else:
            self._server.ask(partial(client.set_terminated, run_id, status=status, end_time=ended_ms))
        self._sent[run_id] = status

    def remove_doubles(self) -> None:
        """A server that was slow to commit may have made a run twice; the one with the data stays."""
        for key, some in self._server.runs(self.experiment_id).items():
            mine = self._found[key][0].run_id if key in self._found else some[0].run_id
            for double in some:
                if double.run_id != mine and not double.deleted:
                    self._server.ask(partial(self._server.client.delete_run, double.run_id))

    def _parent(self) -> str:
        if None not in self._found:
            self._make(None, self._record.name, to_ms(self._record.created), self._tags("study"))
        return self._kept(None)

    def _kept(self, key: int | None) -> str:
        """The run's id, also in the study's tables."""
        run_id = self._found[key][0].run_id
        if self._stored.get(key) != run_id:
            self._store.deliveries.set_run_id(self._record.name, key, run_id, self.experiment_id, self._server.shown)
            self._stored[key] = run_id
        return run_id

    def _make(self, key: int | None, name: str, start_ms: int, tags: Mapping[str, str]) -> None:
        run_id = self._server.create_run(self.experiment_id, name, start_ms, tags)
        self._found[key] = [KnownRun(run_id=run_id, deleted=False, status="RUNNING", tags=tags)]
        self._sent[run_id] = "RUNNING"

    def _tags(self, kind: str) -> dict[str, str]:
        whose = {KIND: kind, STUDY: self._record.name, UID: self._record.uid, "mlflow.user": user_name()}
        return whose | {"mlflow.source.name": "tune-cnn search", "mlflow.source.type": "LOCAL"}

    def _forget_what_is_not_there(self) -> None:
        """Another server than before, or runs removed for good: what was delivered there has to be sent again."""
        here = {run.run_id for some in self._found.values() for run in some}
        stored = {t.run_id for t in self._store.trials(self._record.name)} | {self._record.run_id}
        if stored - {None} - here:
            self._store.deliveries.queue_all(self._record.name)


def record_of(store: Store, study: str) -> StudyRecord:
    record = store.study(study)
    if record is None:
        raise StudyError(f"study {study!r}: was deleted from {store.shown} meanwhile")
    return record
