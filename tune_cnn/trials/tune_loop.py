"""The loop of Ray Tune around warm trials: asks its driver for trials, and brings it every epoch."""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import DeviceLost
from tune_cnn.owner import write_owner
from tune_cnn.states import TrialState
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import import_folders
from tune_cnn.trials.cluster.leftovers import PREFIX
from tune_cnn.trials.cluster.machines import Slots, autoscales
from tune_cnn.trials.cluster.ray_output import tune_silent
from tune_cnn.trials.coordinated import Coordinator
from tune_cnn.trials.nodes.fleet import FleetWatch, node_of_actor
from tune_cnn.trials.nodes.leaving import SlotLeft
from tune_cnn.trials.nodes.nodes_in_use import AUTOSCALED_S, WAIT_S, NodesInUse
from tune_cnn.trials.trainable import Payload, WarmTrial
from tune_cnn.trials.tune_adapter import Driver, Opening, TuneAdapter
from tune_cnn.untyped import Plain, Untyped

from ray import tune  # isort: skip
from ray.exceptions import RayActorError, RayTaskError
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, placement_group

NODE_ID = "ray.io/node-id"  # the label that Ray gives to every node
PATIENCE_S = 120.0  # longest wait for all slots to come up: a cold start is about 10 s, on a busy machine 60 s


def run_trials(driver: Driver, payload: Payload, slots: Slots, *, at_most: int | None = None) -> None:
    """Run the driver's trials, `slots.count` at a time, until it has no more. Blocks; needs Ray connected."""
    expected = min(slots.count, at_most) if at_most is not None else slots.count
    _run(lambda coordinator, nodes: TuneAdapter(driver, slots.count, coordinator, nodes), payload, slots, expected)


def open_and_run(opening: Opening, payload: Payload, slots: Slots) -> None:
    """The same, where there is no driver yet: `opening` makes it from the answer to `payload.first`.

    That call runs in the first slot while the others start, so that nothing is imported or waited for twice. What it
    or `opening` raises is raised here.
    """
    assert payload.first is not None
    adapter = _run(
        lambda coordinator, nodes: TuneAdapter(None, slots.count, coordinator, nodes, opening),
        payload,
        slots,
        slots.count,
    )
    if adapter.error is not None:
        raise adapter.error


MakeAdapter = Callable[[Coordinator, NodesInUse], TuneAdapter]


def _run(make_adapter: MakeAdapter, payload: Payload, slots: Slots, expected: int) -> TuneAdapter:
    with FleetWatch() as fleet:
        coordinator = Coordinator(
            expected, PATIENCE_S, stall_timeout_s=payload.stall_timeout_s, stalls_folder=payload.stalls
        )
        try:
            wait_s = AUTOSCALED_S if autoscales() else WAIT_S
            nodes = NodesInUse(fleet, slots.bundles, packed=slots.packed, keep_off=coordinator.keep_off, wait_s=wait_s)
            adapter = make_adapter(coordinator, nodes)
            _run_tune(adapter, replace(payload, coordinator=coordinator.actor, bundles=list(slots.bundles)), slots)
        finally:
            coordinator.end()
    if coordinator.lost is not None:
        raise coordinator.lost
    return adapter


def _run_tune(adapter: TuneAdapter, payload: Payload, slots: Slots) -> None:
    shared = replace(payload, import_folders=import_folders())
    bundles = [dict(bundle) for bundle in slots.bundles]
    trainable = tune.with_resources(
        tune.with_parameters(WarmTrial, payload=shared), PlacementGroupFactory(bundles, strategy=slots.strategy)
    )
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}tune-")
    write_owner(Path(folder))
    try:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Asker(adapter), scheduler=_InOrder(adapter, slots), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                stop=_Listener(adapter),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
                failure_config=tune.FailureConfig(max_failures=0),  # the adapter hands a lost trial out again
                verbose=0,
            ),
        )
        with _starting_at_once(slots.count), tune_silent():
            tuner.fit()
    finally:
        adapter.close()
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
        # Ends have been told by _Listener, and losses by _InOrder: this hears of what Tune ends on its own.
        if not error:
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
        ended: tuple[TrialState, str | None] | None = result.get("end") or (
            (TrialState.STOPPED, None) if stop else None
        )
        if ended is not None:
            adapter.end(trial_id, *ended, nodes=result["nodes"])
        return ended is not None

    def stop_all(self) -> bool:
        return self.adapter.tick()  # running trials end at their epoch, not at once, unless nothing can go on


class _InOrder(_DriverOnly, FIFOScheduler):
    """Trials start as they come. Tune's own order gives a process that has become free to the oldest trial that
    waits, also to one whose own process is being started, and throws that away: after a loss, trials shorter than a
    cold start would leave the slot empty for good.

    It also hears of lost processes and of ends. A callback would too, and with one Tune imports mlflow into the driver.
    """

    def __init__(self, adapter: TuneAdapter | None = None, slots: Slots | None = None) -> None:
        super().__init__(adapter)
        self._slots = slots

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        assert self._slots is not None
        trial.update_resources(_Placement(self._slots, lambda: self.adapter.avoided(trial.trial_id)))

    def choose_trial_to_run(self, tune_controller: object) -> Trial | None:
        return None  # without a choice of ours, Tune prefers trials that have no process coming

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Plain]) -> None:
        _forget_metrics(trial)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        _forget_metrics(trial)
        error = trial.get_pickled_error()
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, SlotLeft):
            self.adapter.moved(trial.trial_id, cause.nodes, str(cause))
            return
        node = node_of_actor(error.actor_id) if isinstance(error, RayActorError) else None
        nodes = () if node is None else (node,)
        self.adapter.lost(trial.trial_id, _why(trial), nodes=nodes, broke=isinstance(cause, DeviceLost))


class _Placement(PlacementGroupFactory):
    """A trial's resources, on any node but those that are to be avoided when they are asked for.

    Equal to any other of the same resources, so that a warm process serves one trial after the other.
    """

    def __init__(self, slots: Slots, avoided: Callable[[], Collection[str]]) -> None:
        super().__init__([dict(bundle) for bundle in slots.bundles], strategy=slots.strategy)
        self._avoided = avoided

    def to_placement_group(self) -> PlacementGroup:
        avoided = sorted(self._avoided())
        selector = {NODE_ID: f"!in({','.join(avoided)})"} if avoided else {}
        group: PlacementGroup = placement_group(
            self.bundles, strategy=self.strategy, bundle_label_selector=[selector for _ in self.bundles]
        )
        return group

    def __reduce__(self) -> tuple[Untyped, ...]:
        return (_plain_resources, (self.bundles, self.strategy))  # what Tune writes knows nothing of the driver


def _plain_resources(bundles: list[dict[str, float]], strategy: str) -> PlacementGroupFactory:
    return PlacementGroupFactory(bundles, strategy=strategy)


def _forget_metrics(trial: Trial) -> None:
    """What Tune keeps of each number's course, 2 KiB apiece, until the search ends: nothing here asks for it."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()


def _why(trial: Trial) -> str:
    """What Tune's last try died of, in a line: the first one below the traceback or the actor's particulars."""
    written = Path(trial.error_file or "")
    text = written.read_text().rpartition("Failure # ")[2] if written.is_file() else ""
    lines = [line for line in text.splitlines()[1:] if line.strip()] or ["no reason was given"]
    said = max((n for n, line in enumerate(lines[:-1], start=1) if line[0].isspace()), default=0)
    return lines[said].removeprefix(f"{DeviceLost.__module__}.{DeviceLost.__name__}: ")[:300]
