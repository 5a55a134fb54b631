"""The loop of Ray Tune around warm trials: asks its conductor for trials, and brings it every epoch."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.board import SlotBoard
from tune_cnn.trials.cluster import Slots
from tune_cnn.trials.code import import_folders
from tune_cnn.trials.ray_output import tune_silent
from tune_cnn.trials.trainable import Payload, WarmTrial

import ray  # isort: skip
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

MAX_FAILURES = 2  # lost processes a trial survives, each time from its last checkpoint
PATIENCE_S = 120.0  # longest wait for all slots to come up: a cold start is about 10 s, on a busy machine 60 s


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial to run."""

    trial: int
    params: Mapping[str, Any]
    seed: int


class Conductor(Protocol):
    """Who decides. Its methods run in the driver, in Tune's loop, and never raise."""

    def next(self) -> Assignment | None:
        """The next trial; None when the search is over."""

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        """Commit an epoch; True stops the trial."""

    def end(self, trial: int, state: str, reason: str | None) -> None:
        """A trial is over: complete, failed, infeasible or interrupted."""

    def tick(self) -> bool:
        """Called ten times a second or more; True once no new trial and no further epoch is wanted."""


def run_trials(conductor: Conductor, payload: Payload, slots: Slots, *, at_most: int | None = None) -> None:
    """Run the conductor's trials, `slots.count` at a time, until it has no more. Blocks; needs Ray connected."""
    expected = min(slots.count, at_most) if at_most is not None else slots.count
    board = SlotBoard.remote(expected, PATIENCE_S)  # type: ignore[attr-defined]
    shared = replace(payload, board=board, bundles=list(slots.bundles), import_folders=import_folders())
    trainable = tune.with_resources(
        tune.with_parameters(WarmTrial, payload=shared),
        # Packed: gradients travel every step, so a trial's ranks stay on one node where they fit.
        tune.PlacementGroupFactory([dict(bundle) for bundle in slots.bundles], strategy="PACK"),
    )
    folder = tempfile.mkdtemp(prefix="tune_cnn-tune-")
    bridge = _Bridge(conductor, slots.count, board)
    try:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Asker(bridge), scheduler=_InOrder(), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                stop=_Listener(bridge),
                callbacks=[_Losses(bridge)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        )
        with _starting_at_once(slots.count), tune_silent():
            tuner.fit()
    finally:
        bridge.close()
        ray.kill(board)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _starting_at_once(slots: int) -> Iterator[None]:
    """Let Tune start all slots' processes at the same time; with a searcher it would start one after another.

    One more than there are slots: at its limit, Tune would again give a free process to any trial that waits.
    """
    name = "TUNE_MAX_PENDING_TRIALS_PG"
    before = os.environ.get(name)
    os.environ[name] = str(slots + 1)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Bridge:
    """What the three hooks of Tune share: the conductor, the trials that run, and the board."""

    def __init__(self, conductor: Conductor, slots: int, board: Any) -> None:
        self.conductor = conductor
        self.slots = slots
        self.running: dict[str, int] = {}  # Tune's id of a trial -> ours
        self.finished = False
        self.board = board
        self._handed_out = 0
        self._draining = False

    def next(self) -> Assignment | None:
        """The next trial; None when there will be no more."""
        assignment = None if self.finished else self.conductor.next()
        if assignment is not None:
            self._handed_out += 1
        elif not self.finished:
            self.finished = True
            self.board.expect.remote(self._handed_out)
        return assignment

    def drain(self) -> None:
        """No new trials; those that run end at their epoch."""
        if not self._draining:
            self._draining = self.finished = True
            self.board.drain.remote()

    def end(self, tune_id: str, state: str, reason: str | None) -> None:
        trial = self.running.pop(tune_id, None)
        if trial is not None:
            self.board.idle.remote(trial)
            self.conductor.end(trial, state, reason)

    def close(self) -> None:
        """Where Tune's loop was broken off, what ran is unfinished."""
        for tune_id in list(self.running):
            self.end(tune_id, "interrupted", None)


class _InOrder(FIFOScheduler):
    """Trials start as they come. Tune's own order gives a process that has become free to the oldest trial that
    waits, also to one whose own process is being started, and throws that away: after a loss, trials shorter than a
    cold start would leave the slot empty for good."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return None  # without a choice of ours, Tune prefers trials that have no process coming


class _DriverOnly:
    """A hook that stays in the driver. Tune copies its searcher, and pickles all hooks into its folder: the copy is
    the hook itself, the pickle is empty, so that no secret of the conductor's is ever written."""

    def __init__(self, bridge: "_Bridge | None" = None) -> None:
        super().__init__()
        if bridge is not None:
            self.bridge = bridge

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), ())


class _Asker(_DriverOnly, Searcher):
    """Tune's searcher: hands out the conductor's trials, never more than there are slots."""

    def suggest(self, trial_id: str) -> Any:
        bridge = self.bridge
        if not bridge.finished and len(bridge.running) >= bridge.slots:
            return None
        assignment = bridge.next()
        if assignment is None:
            return Searcher.FINISHED
        bridge.running[trial_id] = assignment.trial
        return {"trial": assignment.trial, "params": dict(assignment.params), "seed": assignment.seed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Ends have been told by _Listener, and losses will be by _Losses: this catches what Tune ends on its own.
        if not error:
            self.bridge.end(trial_id, "interrupted", None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is rebuilt from the store."""


class _Listener(_DriverOnly, tune.Stopper):
    """Tune's stopper, the one hook that sees every result, the last one too."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        bridge = self.bridge
        stop = False
        for epoch, metrics in result.get("former", []):
            bridge.conductor.point(result["trial"], epoch, metrics, None)
        if result.get("metrics") is not None:
            stop = bridge.conductor.point(result["trial"], result["epoch"], result["metrics"], result.get("checkpoint"))
        ended: Sequence[Any] | None = result.get("end")
        if ended is not None:
            bridge.end(trial_id, *ended)
        elif stop:
            bridge.end(trial_id, "stopped", None)
        return stop or ended is not None

    def stop_all(self) -> bool:
        if self.bridge.conductor.tick():
            self.bridge.drain()
        return False  # running trials end at their epoch, not at once


class _Losses(_DriverOnly, tune.Callback):
    """Hears of lost processes; says why a trial was lost for good."""

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.bridge.board.idle.remote(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.bridge.end(trial.trial_id, "failed", f"given up after {MAX_FAILURES + 1} tries: {_why(trial)}")


def _why(trial: Trial) -> str:
    """What Tune's last try died of, in a line: the first one below the traceback or the actor's particulars."""
    written = Path(trial.error_file or "")
    text = written.read_text().rpartition("Failure # ")[2] if written.is_file() else ""
    lines = [line for line in text.splitlines()[1:] if line.strip()] or ["no reason was given"]
    said = max((n for n, line in enumerate(lines[:-1], start=1) if line[0].isspace()), default=0)
    return lines[said][:300]
