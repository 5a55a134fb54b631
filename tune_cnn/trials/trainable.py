"""The warm trial: a Ray Trainable that outlives its trials, and trains one epoch a step."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.errors import OutOfMemory, TrialError, TuneCnnError, first_line
from tune_cnn.spec import Configuration
from tune_cnn.states import TrialState
from tune_cnn.training.messages import EpochResult, LeftEpoch, TrainingJob
from tune_cnn.training.process.mps import cap_sms
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.checkpoints import folder_of
from tune_cnn.trials.cluster.code import add_import_folders
from tune_cnn.trials.cluster.leftovers import remove_leftovers
from tune_cnn.trials.coordinator import Begin
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.nodes.leaving import Notice, SlotLeft
from tune_cnn.trials.ranks import TRAINING, RankGroup, Watched, lost
from tune_cnn.trials.stalls.beats import Beats
from tune_cnn.trials.waiting import answered, answered_some_time
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray import tune
from ray.exceptions import OutOfMemoryError

log = logging.getLogger(__name__)
COORDINATOR = "the slots' coordinator"
BEGIN_S = 300.0  # it lets a trial wait until all slots are up, two minutes at most (tune_loop.PATIENCE_S)

GOING = "its node is going"


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What all trials of a phase share; goes to every slot once."""

    job: TrainingJob  # all but trial, configuration, seed and checkpoint folder
    coordinator: Untyped  # handle of the SlotCoordinator
    bundles: list[dict[str, float]]
    checkpoints: str | None = None  # folder or URI of all trials' checkpoints
    loop: str = TRAINING
    stall_timeout_s: float | None = None  # of a step; None: by the trial's own
    stalls: str | None = None  # folder on the driver's machine for the stacks of what stood still
    first: FirstCall | None = None  # what is asked before there is a driver
    import_folders: tuple[str, ...] = ()  # where the driver finds the user's modules


def job_of(payload: Payload, config: Mapping[str, Plain]) -> TrainingJob:
    folder = folder_of(payload.checkpoints, config["trial"]) if payload.checkpoints else None
    return replace(
        payload.job,
        trial=config["trial"],
        configuration=_configuration(config["params"]),
        seed=config["seed"],
        data_key=config["data_key"],
        context_mib=config["context_mib"],
        checkpoint_dir=folder,
        cache_dir=str(Path(payload.job.cache_dir).expanduser()),  # of this node's user
    )


def _configuration(params: Mapping[str, Plain]) -> Configuration:
    try:
        return Configuration.from_params(params)
    except ValueError as error:
        raise TrialError(f"the configuration does not hold: {' '.join(str(error).split())[:500]}") from None


class WarmTrial(tune.Trainable):
    """Imports, ranks, process group and images survive from trial to trial; everything else is made anew.

    A trial's own end (complete, failed, infeasible, interrupted) is *returned*. Only a lost process, a broken CUDA
    context and a slot that takes no trials are raised: Tune ends the process, and the trial goes on in another one,
    from the last checkpoint.
    """

    def setup(self, config: dict[str, Plain], payload: Payload | None = None) -> None:
        assert payload is not None
        add_import_folders(payload.import_folders)
        remove_leftovers()  # of this node: the driver sees its own alone
        cap_sms(payload.job.gpu_share)  # nothing has touched CUDA in this process yet
        self._payload = payload
        self._slot = uuid.uuid4().hex
        self._group: RankGroup | None = None
        self._nodes: tuple[str, ...] = ()  # that the ranks are on
        self._notice: Notice | None = None
        self._is_going = False  # a node of this slot's is
        self._assigned, self._begun = config, False
        self._former: list[tuple[int, dict[str, float]]] = []  # epochs that the resumed checkpoint tells of
        Beats(payload.coordinator, self._slot, rank=0, ranks=payload.job.ranks, trial=lambda: self._assigned["trial"])

    def reset_config(self, new_config: dict[str, Plain]) -> bool:
        # Only stores: an error here would break the search (no retry, the searcher is never told).
        self._assigned, self._begun, self._former = new_config, False, []
        return True

    def step(self) -> dict[str, Plain]:
        try:
            if self._assigned["trial"] is None:
                answer = self._be_assigned()
                if answer is not None:
                    return answer
            if not self._begun:
                ended = self._begin()
                if ended is not None:
                    return ended
            elif self._is_going:
                raise SlotLeft(GOING, self._nodes)
            assert self._group is not None
            result: EpochResult | LeftEpoch = self._group.call("train_epoch")
            if isinstance(result, LeftEpoch):
                if self._notice is not None and self._notice.is_given:
                    raise SlotLeft(GOING, self._nodes)
                return {**self._end(TrialState.INTERRUPTED, None), "checkpoint": result.checkpoint}
            return self._report(result)
        except Exception as error:
            if lost(error) or isinstance(error, SlotLeft):
                raise
            log.debug("trial %s ended", self._assigned["trial"], exc_info=True)
            return self._end(*end_of(error))

    def cleanup(self) -> None:
        # Nothing is waited for: Tune gives processes that take long to end up to 15 s.
        if self._group is not None:
            self._group.close()

    def _be_assigned(self) -> dict[str, Plain] | None:
        """Started before it was known what to train: import all, answer the first call, and wait to be told."""
        coordinator, slot = self._payload.coordinator, self._assigned["slot"]
        if self._assigned["first"] and not answered(coordinator.is_assigned.remote(slot), COORDINATOR):
            self._assigned = {**self._assigned, "first": False}
            return {"trial": None, "metrics": None, "end": None, "done": False, "answer": self._first_answer()}
        self._warm_up()
        assigned = answered_some_time(
            coordinator.assignment.remote(slot), COORDINATOR, there=lambda: coordinator.is_assigned.remote(slot)
        )
        if assigned is None:
            return self._end(TrialState.INTERRUPTED, None)
        self._assigned = assigned
        return None

    def _first_answer(self) -> Untyped:
        """What the first call returns or raises."""
        first = self._payload.first
        assert first is not None
        self._warm_up()
        try:
            with PROGRESS.doing(Doing.STARTING):
                return first()
        except Exception as error:
            return error

    def _warm_up(self) -> None:
        try:
            self._make_group()
        except Exception as error:
            log.debug("the ranks are made again at the first trial, which says what is wrong: %s", error)

    def _make_group(self) -> RankGroup:
        payload = self._payload
        if self._group is None:
            cuda = payload.job.gpu_share > 0
            with PROGRESS.doing(Doing.STARTING):
                self._group = RankGroup(
                    payload.loop,
                    ranks=payload.job.ranks,
                    cuda=cuda,
                    bundles=payload.bundles,
                    import_folders=payload.import_folders,
                    watched=Watched(coordinator=payload.coordinator, slot=self._slot),
                )
            self._nodes = self._group.nodes()
            self._notice = Notice(self._going, self._group.leave)
        return self._group

    def _going(self) -> float:
        """Wait until a node of this slot's is going; until when it is up."""
        coordinator = self._payload.coordinator
        waited = coordinator.notice.remote(self._nodes)
        until_s: float = answered_some_time(
            waited, COORDINATOR, there=lambda: coordinator.is_assigned.remote(self._slot)
        )
        return until_s

    def _begin(self) -> dict[str, Plain] | None:
        """First step of a trial: wait until all slots are up, off the clock, and make everything anew."""
        payload = self._payload
        group = self._make_group()
        if not set(self._nodes).isdisjoint(self._assigned["not_on"]):
            raise SlotLeft("it was lost on this node before", self._nodes)
        began = payload.coordinator.begin.remote(self._slot, self._assigned["trial"], self._nodes, _place())
        told = answered(began, COORDINATOR, within_s=BEGIN_S)
        if told is Begin.OVER:
            return self._end(TrialState.INTERRUPTED, None)
        if told is Begin.LEAVE:
            raise SlotLeft("its node takes no trials any more", self._nodes)
        self._begun = True
        job = job_of(payload, self._assigned)
        done = group.call("begin", job)
        assert self._notice is not None
        self._notice.tell()
        if done:  # the driver may have died before it heard of the last epochs: they are told again, not trained
            self._former = [(past.epoch, dict(past.metrics)) for past in group.call("history")]
        return self._end(TrialState.COMPLETE, None) if done >= job.last_epoch else None

    def _report(self, result: EpochResult) -> dict[str, Plain]:
        pulse = answered(
            self._payload.coordinator.pulse.remote(self._assigned["trial"], self._nodes, _place()), COORDINATOR
        )
        report: dict[str, Plain] = {
            "trial": self._assigned["trial"],
            "epoch": result.epoch,
            # in pairs: Tune would keep running averages of every number that it finds in a mapping
            "metrics": list({**result.metrics, "cotenants": float(pulse.cotenants), **result.system}.items()),
            "checkpoint": result.checkpoint,
            "former": self._take_former(),
            "nodes": self._nodes,
            "end": None,
            "done": result.done,
        }
        if result.done:
            report["end"] = (TrialState.COMPLETE, None)
        elif pulse.draining or pulse.is_going:
            self._is_going = pulse.is_going
            assert self._group is not None
            report["checkpoint"] = self._group.call("checkpoint") if self._payload.checkpoints else None
            if pulse.draining:
                report |= {"end": (TrialState.INTERRUPTED, None), "done": True}
        return report

    def _end(self, state: TrialState, reason: str | None) -> dict[str, Plain]:
        self._begun = False
        if self._group is not None and state.is_failure:
            self._release()
        return {
            "trial": self._assigned["trial"],
            "metrics": None,
            "former": self._take_former(),
            "nodes": self._nodes,
            "end": (state, reason),
            "done": True,
        }

    def _take_former(self) -> list[tuple[int, dict[str, float]]]:
        former, self._former = self._former, []
        return former

    def _release(self) -> None:
        """Free what a failed trial holds. Further ranks were ended with it; the next trial makes them anew."""
        assert self._group is not None
        self._group.free()
        if self._payload.job.ranks > 1:
            self._group.close()
            self._group = None


def end_of(error: Exception) -> tuple[TrialState, str]:
    """State and reason of a trial that raised."""
    if isinstance(error, MemoryError | OutOfMemory | OutOfMemoryError):
        said = first_line(error)[:500]
        return TrialState.INFEASIBLE, said if "out of memory" in said.lower() else f"out of memory: {said}"
    if isinstance(error, TrialError | TuneCnnError):
        return TrialState.FAILED, str(error)
    return TrialState.FAILED, f"{type(error).__name__}: {first_line(error)[:500]}"


def _place() -> str:
    """The hardware that cotenants share: a GPU of a node, else the node."""
    context = ray.get_runtime_context()
    gpus = ray.get_gpu_ids()
    return f"{context.get_node_id()}/{','.join(map(str, gpus))}"
