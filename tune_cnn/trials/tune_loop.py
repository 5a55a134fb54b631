"""The loop of Ray Tune around warm trials: asks its driver for trials, and brings it every epoch."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import DeviceLost
from tune_cnn.owner import write_owner
from tune_cnn.states import TrialState
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster import Slots
from tune_cnn.trials.code import import_folders
from tune_cnn.trials.coordinator import SlotCoordinator
from tune_cnn.trials.leftovers import PREFIX
from tune_cnn.trials.ray_output import tune_silent
from tune_cnn.trials.trainable import Payload, WarmTrial
from tune_cnn.trials.tune_adapter import Driver, Opening, TuneAdapter
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

MAX_FAILURES = 2  # lost processes a trial survives, each time from its last checkpoint
PATIENCE_S = 120.0  # longest wait for all slots to come up: a cold start is about 10 s, on a busy machine 60 s


def run_trials(driver: Driver, payload: Payload, slots: Slots, *, at_most: int | None = None) -> None:
    """Run the driver's trials, `slots.count` at a time, until it has no more. Blocks; needs Ray connected."""
    expected = min(slots.count, at_most) if at_most is not None else slots.count
    _run(lambda coordinator: TuneAdapter(driver, slots.count, coordinator), payload, slots, expected)


def open_and_run(opening: Opening, payload: Payload, slots: Slots) -> None:
    """The same, where there is no driver yet: `opening` makes it from the answer to `payload.first`.

    That call runs in the first slot while the others start, so that nothing is imported or waited for twice. What it
    or `opening` raises is raised here.
    """
    assert payload.first is not None
    adapter = _run(
        lambda coordinator: TuneAdapter(None, slots.count, coordinator, opening), payload, slots, slots.count
    )
    if adapter.error is not None:
        raise adapter.error


def _run(make_adapter: Callable[[Untyped], TuneAdapter], payload: Payload, slots: Slots, expected: int) -> TuneAdapter:
    coordinator = SlotCoordinator.remote(expected, PATIENCE_S)  # type: ignore[attr-defined]  # Ray's decorator adds it
    shared = replace(payload, coordinator=coordinator, bundles=list(slots.bundles), import_folders=import_folders())
    trainable = tune.with_resources(
        tune.with_parameters(WarmTrial, payload=shared),
        tune.PlacementGroupFactory([dict(bundle) for bundle in slots.bundles], strategy=slots.strategy),
    )
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}tune-")
    write_owner(Path(folder))
    adapter = make_adapter(coordinator)
    try:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Asker(adapter), scheduler=_InOrder(adapter), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                stop=_Listener(adapter),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        )
        with _starting_at_once(slots.count), tune_silent():
            tuner.fit()
    finally:
        adapter.close()
        ray.kill(coordinator)
        shutil.rmtree(folder, ignore_errors=True)
    return adapter


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


class _DriverOnly:
    """A hook that stays in the driver. Tune copies its searcher, and pickles all hooks into its folder: the copy is
    the hook itself, the pickle is empty, so that no secret of the driver's is ever written."""

    def __init__(self, adapter: TuneAdapter | None = None) -> None:
        super().__init__()
        if adapter is not None:
            self.adapter = adapter

    def __deepcopy__(self, memo: dict[int, Untyped]) -> Untyped:
        return self

    def __reduce__(self) -> tuple[Untyped, ...]:
        return (type(self), ())


class _Asker(_DriverOnly, Searcher):
    """Tune's searcher: hands out the driver's trials, never more than there are slots."""

    def suggest(self, trial_id: str) -> Untyped:
        config = self.adapter.config(trial_id)
        return Searcher.FINISHED if config is None and self.adapter.finished else config

    def on_trial_complete(self, trial_id: str, result: dict[str, Plain] | None = None, error: bool = False) -> None:
        # Ends have been told by _Listener: this hears of what was lost for good, and of what Tune ends on its own.
        if error:
            self.adapter.give_up(trial_id, tries=MAX_FAILURES + 1)
        else:
            self.adapter.end(trial_id, TrialState.INTERRUPTED, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is rebuilt from the store."""


class _Listener(_DriverOnly, tune.Stopper):
    """Tune's stopper, the one hook that sees every result, the last one too."""

    def __call__(self, trial_id: str, result: dict[str, Plain]) -> bool:
        adapter = self.adapter
        if result["trial"] is None and result["end"] is None:
            adapter.open(result["answer"])
            return False
        stop = False
        for epoch, metrics in result.get("former", []):
            adapter.point(result["trial"], epoch, metrics, None)
        if result.get("metrics") is not None:
            stop = adapter.point(result["trial"], result["epoch"], dict(result["metrics"]), result.get("checkpoint"))
        ended: Sequence[Untyped] | None = result.get("end")
        if ended is not None:
            adapter.end(trial_id, *ended)
        elif stop:
            adapter.end(trial_id, TrialState.STOPPED, None)
        return stop or ended is not None

    def stop_all(self) -> bool:
        self.adapter.tick()
        return False  # running trials end at their epoch, not at once


class _InOrder(_DriverOnly, FIFOScheduler):
    """Trials start as they come. Tune's own order gives a process that has become free to the oldest trial that
    waits, also to one whose own process is being started, and throws that away: after a loss, trials shorter than a
    cold start would leave the slot empty for good.

    It also hears of lost processes and of ends. A callback would too, and with one Tune imports mlflow into the driver.
    """

    def choose_trial_to_run(self, tune_controller: object) -> Trial | None:
        return None  # without a choice of ours, Tune prefers trials that have no process coming

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Plain]) -> None:
        # what Tune keeps of each number's course, 2 KiB apiece, until the search ends: nothing here asks for it
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        self.adapter.lost(trial.trial_id, _why(trial))


def _why(trial: Trial) -> str:
    """What Tune's last try died of, in a line: the first one below the traceback or the actor's particulars."""
    written = Path(trial.error_file or "")
    text = written.read_text().rpartition("Failure # ")[2] if written.is_file() else ""
    lines = [line for line in text.splitlines()[1:] if line.strip()] or ["no reason was given"]
    said = max((n for n, line in enumerate(lines[:-1], start=1) if line[0].isspace()), default=0)
    return lines[said].removeprefix(f"{DeviceLost.__module__}.{DeviceLost.__name__}: ")[:300]
