"""The front as tags and metrics of its trials' runs, so that a filter in MLflow finds it."""

import math
from collections.abc import Mapping, Sequence

from mlflow.entities import Metric

from tune_cnn.records.front_history import TrialOnFront, trials_on_front
from tune_cnn.records.mlflow.client import Server
from tune_cnn.records.mlflow.description import odd_free
from tune_cnn.records.mlflow.runs import StudyRuns
from tune_cnn.records.rows import PointRecord, TrialRecord
from tune_cnn.spec import StudySpec

FRONT, EPOCHS, CHOSEN = "front", "front_epochs", "front_epoch"


class FrontTags:
    """Writes what has changed since the server was last written to; its own tags say what it holds."""

    def __init__(self, server: Server, runs: StudyRuns) -> None:
        self._server = server
        self._runs = runs
        self._sent = {n: _tags_sent(runs.tags_of(n)) for n in runs.known_trials() if FRONT in runs.tags_of(n)}

    def send(
        self,
        points: Sequence[PointRecord],
        trials: Mapping[int, TrialRecord],
        spec: StudySpec,
        reference: Mapping[str, float] | None,
        stamp_ms: int,
    ) -> None:
        now = trials_on_front(points, spec.objective_metrics, spec.bounds, reference)
        names = {name for point in points[-1:] for name in point.metrics} | set(spec.objectives)
        for trial in sorted(self._sent.keys() - now.keys()):
            self._leave(trials[trial], names, stamp_ms)
        for trial, chosen in now.items():
            if self._sent.get(trial) != _tags(chosen):
                # Step 0 and a later time: the latest value counts, and the chosen epoch may be an earlier one.
                metrics = [Metric(f"front.{odd_free(k)}", v, stamp_ms, 0) for k, v in chosen.point.metrics.items()]
                self._server.log(self._runs.of_trial(trials[trial]), metrics=metrics, tags=_tags(chosen))
                self._sent[trial] = _tags(chosen)

    def _leave(self, trial: TrialRecord, names: set[str], stamp_ms: int) -> None:
        """MLflow can't take a metric back: NaN says that it no longer holds."""
        run_id = self._runs.of_trial(trial)
        gone = [Metric(f"front.{odd_free(name)}", math.nan, stamp_ms, 0) for name in sorted(names)]
        self._server.log(run_id, metrics=gone)
        self._server.delete_tags(run_id, [EPOCHS, CHOSEN, FRONT])
        del self._sent[trial.number]


def _tags(chosen: TrialOnFront) -> dict[str, str]:
    return {FRONT: "true", EPOCHS: ",".join(map(str, chosen.epochs)), CHOSEN: str(chosen.point.epoch)}


def _tags_sent(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: tags[name] for name in (FRONT, EPOCHS, CHOSEN) if name in tags}
