"""Configurations trained one after another, alone on their resources: what `train` and `confirm` do."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tune_cnn.errors import Interrupted, TrialError, first_line
from tune_cnn.spec.calls import resolve
from tune_cnn.training.messages import EpochResult, LeftEpoch, Program, TrainingJob
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import add_import_folders, import_folders
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.coordinated import Coordinator
from tune_cnn.trials.nodes.fleet import FleetWatch, node_of_actor
from tune_cnn.trials.nodes.leaving import Notice
from tune_cnn.trials.nodes.losses import Loss, loss_of
from tune_cnn.trials.ranks import HERE_S, TRAINING, RankGroup, Watched, lost
from tune_cnn.trials.stalls.beats import Beats
from tune_cnn.trials.waiting import answered_some_time
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

log = logging.getLogger(__name__)

BUSY_S = 20.0  # a cluster with room gives it at once
SAID_S = 600.0  # a wait for room may rightly take hours, and is told of so often
POLL_S = 0.2
GOING = "the training's node is going"
NO_ROOM = "the cluster had no room for the training yet"
PACK = "tune_cnn.training.export.weights:pack"
BENCH = "tune_cnn.training.profiling.bench:RankBench"  # the loop of ranks that measure


class ProcessLost(TrialError):
    """A process of the training has died, can't use its device any more or has left its node; a fresh one may go on."""

    def __init__(self, said: str, loss: Loss = Loss.PROCESS) -> None:
        super().__init__(said)
        self.loss = loss


def alone(slots: Slots) -> Slots:
    """The slots with the whole of every device reserved for one trial, whatever share of it the trial may use."""
    whole = tuple({**bundle, **({"GPU": 1.0} if bundle.get("GPU") else {})} for bundle in slots.bundles)
    return replace(slots, count=1, bundles=whole)


@ray.remote
class DedicatedActor:
    """Rank 0 and, through it, all ranks of one training after another."""

    def __init__(
        self,
        path: str,
        job: TrainingJob,
        bundles: Sequence[Mapping[str, float]],
        folders: Sequence[str],
        watched: Watched,
    ) -> None:
        add_import_folders(folders)
        Beats(watched.coordinator, watched.slot, rank=0, ranks=job.ranks, trial=lambda: job.trial)
        with PROGRESS.doing(Doing.STARTING):
            self._group = RankGroup(
                path,
                ranks=job.ranks,
                cuda=job.gpu_share > 0,
                bundles=bundles,
                import_folders=folders,
                watched=watched,
            )
        nodes, coordinator = self._group.nodes(), watched.coordinator

        def going() -> float:
            answer = coordinator.notice.remote(nodes)
            until_s: float = answered_some_time(
                answer, "the coordinator", there=lambda: coordinator.is_assigned.remote(watched.slot)
            )
            return until_s

        self._notice = Notice(going, self._group.leave)

    def call(self, method: str, *args: object, **kwargs: object) -> Untyped:
        result = self._group.call(method, *args, **kwargs)
        if method == "begin":
            self._notice.tell()
        return result

    def is_going(self) -> bool:
        """Whether a node of its ranks is."""
        return self._notice.is_given

    def packed_weights(self) -> bytes:
        """The model's weights as the bytes of a safetensors file."""
        packed: bytes = resolve(PACK)(self._group.call("weights"))  # torch lives in this process, not in the driver
        return packed


@contextmanager
def dedicated(
    job: TrainingJob,
    slots: Slots,
    *,
    loop: str = TRAINING,
    stall_timeout_s: float | None = None,
    stalls: str | None = None,
    leaving: Callable[[], bool] = lambda: False,
    left: Callable[[], bool] = lambda: False,
) -> Iterator["Dedicated"]:
    """Ranks in a placement group of their own, warm from training to training; ended when the block ends.

    `job` is the first of them; all have its ranks and its share of a GPU. Needs Ray connected. stall_timeout_s, stalls:
    as in `trainable.Payload`. Where `leaving` comes to hold, nothing is waited for, and a training leaves its epoch
    with a checkpoint: both raise ProcessLost. Where `left` does, whoever waits raises Interrupted at once: for a thread
    that must not go on when Ray ends, as the next call would start another one.
    """
    group = placement_group([dict(bundle) for bundle in slots.bundles], strategy=slots.strategy)
    try:
        _wait_for_room(group.ready(), leaving, left)
    except BaseException:
        remove_placement_group(group)
        raise
    first = slots.bundles[0]
    strategy = PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    with FleetWatch() as fleet:
        coordinator = Coordinator(1, 0.0, stall_timeout_s=stall_timeout_s, stalls_folder=stalls)
        watched = Watched(coordinator=coordinator.actor, slot="dedicated")
        actor = DedicatedActor.options(  # type: ignore[attr-defined]  # Ray's decorator adds it
            num_cpus=first["CPU"], num_gpus=first.get("GPU", 0), scheduling_strategy=strategy
        ).remote(loop, job, list(slots.bundles), import_folders(), watched)
        try:
            yield Dedicated(actor, coordinator, fleet, job.trial, leaving, left)
        finally:
            ray.kill(actor)
            coordinator.end()
            remove_placement_group(group)


def _wait_for_room(ready: Untyped, leaving: Callable[[], bool], left: Callable[[], bool]) -> None:
    """However long it takes, as the user can end it: another's work may rightly go on for hours."""
    began_s, said_s = time.monotonic(), BUSY_S
    while not ray.wait([ready], timeout=POLL_S)[0]:
        _end_where(left)
        if leaving():
            raise ProcessLost(NO_ROOM, Loss.MOVED)
        waited_s = time.monotonic() - began_s
        if waited_s >= said_s:
            log.warning("waiting until the cluster has room, for %.0f s: another's work holds what is needed", waited_s)
            said_s += SAID_S


def _end_where(left: Callable[[], bool]) -> None:
    if left():
        raise Interrupted("the training is left at once")


class Dedicated:
    def __init__(
        self,
        actor: Untyped,
        coordinator: Coordinator,
        fleet: FleetWatch,
        trial: int,
        leaving: Callable[[], bool],
        left: Callable[[], bool],
    ) -> None:
        self._actor, self._coordinator, self._fleet, self._trial = actor, coordinator, fleet, trial
        self._leaving, self._left, self._is_leaving = leaving, left, False
        self._going: Mapping[str, float] = {}

    def train(
        self,
        job: TrainingJob,
        told: Callable[[EpochResult], bool | None],
        *,
        past: Callable[[EpochResult], object] = lambda result: None,
        before: Callable[[int], object] = lambda epoch: None,
    ) -> EpochResult:
        """Train to the job's last epoch, from its newest checkpoint where it has one, telling of each; the last one.

        `past` is told of those that the checkpoint already has. `before` is called before each epoch is trained, or
        gone on with, with the number of those trained. Where `told` answers True, the training ends there, with a
        checkpoint; the result is then not `done`.
        After a failure a group of several ranks is ended: it takes a new `dedicated` to go on. ProcessLost, with a
        checkpoint, where a node of the ranks is going.
        """
        done = self._call("begin", job)
        result: EpochResult | None = None
        for result in self._call("history") if done else ():
            past(result)
        while result is None or not (result.done or done >= job.last_epoch):
            before(done)
            trained: EpochResult | LeftEpoch = self._call("train_epoch")
            if isinstance(trained, LeftEpoch):
                raise ProcessLost(GOING, Loss.MOVED)
            result, done = trained, trained.epoch
            if told(result) and not result.done:
                self._call("checkpoint")
                break
            if not result.done and self._get(self._actor.is_going.remote()):
                self._call("checkpoint")
                raise ProcessLost(GOING, Loss.MOVED)
        return result

    def ask(self, method: str, *args: Untyped) -> Untyped:
        """What a loop of its own has beside training: rank 0's answer, once all ranks have given theirs."""
        return self._call(method, *args)

    def checkpoint(self) -> None:
        """Write one now, where the training has a folder."""
        self._call("checkpoint")

    def test(self) -> dict[str, float]:
        return dict(self._call("test"))

    def changes(self) -> list[Mapping[str, Plain]]:
        """What turns the factory's model into the one that the weights are of."""
        return list(self._call("changes"))

    def program(self) -> Program:
        """The model as it is, as a program that needs none of our code; TrialError where it can't be one."""
        made: Program = self._call("program")
        return made

    def check_program(self, job: TrainingJob) -> None:
        """TrialError where the job's model, not trained yet, can't be a program."""
        self._call("begin", job)
        self._call("program")
        self._call("end")

    def bench(self, job: TrainingJob, **how: Plain) -> dict[str, float]:
        """Measure a configuration instead of training it; the loop must be `BENCH`, whose keywords `how` are."""
        return dict(self._call("bench", job, **how))

    def weights(self) -> bytes:
        packed: bytes = self._get(self._actor.packed_weights.remote())
        return packed

    def _call(self, method: str, *args: Untyped, **kwargs: Untyped) -> Untyped:
        return self._get(self._actor.call.remote(method, *args, **kwargs))

    def _get(self, ref: Untyped) -> Untyped:
        while not ray.wait([ref], timeout=POLL_S)[0]:  # however long it takes: who stands still is ended
            _end_where(self._left)
            self._tick()
        try:
            return ray.get(ref, timeout=HERE_S)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, OutOfMemoryError):
                raise _node_full() from None
            if lost(cause):
                raise ProcessLost(f"the training's process is of no more use: {first_line(cause)}") from None
            raise cause from None
        except OutOfMemoryError:
            raise _node_full() from None
        except RayActorError as error:
            why = self._coordinator.stalled(self._trial) or first_line(error)
            raise ProcessLost(f"the training's process was lost: {why}", self._loss(error, why)) from None

    def _tick(self) -> None:
        self._coordinator.tick()
        if self._coordinator.lost is not None:
            raise self._coordinator.lost
        if self._is_leaving:
            return
        if self._leaving():  # as if all nodes went at once: its ranks leave the epoch between two steps
            self._is_leaving = True
            self._coordinator.keep_off(dict.fromkeys(self._fleet.now.hosts, time.time()), ())
            return
        going = self._fleet.now.going
        if going.keys() != self._going.keys():
            self._going = going
            self._coordinator.keep_off(going, ())

    def _loss(self, error: RayActorError, why: str) -> Loss:
        node = node_of_actor(error.actor_id)
        now = self._fleet.look(() if node is None else (node,))
        if node in now.going:
            return Loss.MOVED
        return loss_of(why, node_is_gone=node is not None and node not in now.hosts)


def _node_full() -> MemoryError:
    """Ray's memory monitor ended the process, for the sake of its node."""
    return MemoryError("out of memory: its node had none left, so Ray ended its process")
