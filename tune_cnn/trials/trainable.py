"""The warm trial: a Ray Trainable that outlives its trials, and trains one epoch a step."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.errors import OutOfMemory, TrialError, TuneCnnError, first_line
from tune_cnn.spec import Configuration
from tune_cnn.states import TrialState
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.process.mps import cap_sms
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.checkpoints import folder_of
from tune_cnn.trials.code import add_import_folders
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.leftovers import remove_leftovers
from tune_cnn.trials.ranks import TRAINING, RankGroup, lost
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray import tune
from ray.exceptions import OutOfMemoryError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What all trials of a phase share; goes to every slot once."""

    job: TrainingJob  # all but trial, configuration, seed and checkpoint folder
    coordinator: Untyped  # handle of the SlotCoordinator
    bundles: list[dict[str, float]]
    checkpoints: str | None = None  # folder or URI of all trials' checkpoints
    loop: str = TRAINING
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

    A trial's own end (complete, failed, infeasible, interrupted) is *returned*; only a lost process or a broken
    CUDA context is raised, which Tune retries in a fresh process, from the last checkpoint.
    """

    def setup(self, config: dict[str, Plain], payload: Payload | None = None) -> None:
        assert payload is not None
        add_import_folders(payload.import_folders)
        remove_leftovers()  # of this node: the driver sees its own alone
        cap_sms(payload.job.gpu_share)  # nothing has touched CUDA in this process yet
        self._payload = payload
        self._slot = uuid.uuid4().hex
        self._group: RankGroup | None = None
        self._assigned, self._begun = config, False
        self._former: list[tuple[int, dict[str, float]]] = []  # epochs that the resumed checkpoint tells of

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
            assert self._group is not None
            return self._report(self._group.call("train_epoch"))
        except Exception as error:
            if lost(error):
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
        if self._assigned["first"] and not ray.get(coordinator.is_assigned.remote(slot)):
            self._assigned = {**self._assigned, "first": False}
            return {"trial": None, "metrics": None, "end": None, "done": False, "answer": self._first_answer()}
        self._warm_up()
        assigned = ray.get(coordinator.assignment.remote(slot))
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
            self._group = RankGroup(
                payload.loop,
                ranks=payload.job.ranks,
                cuda=cuda,
                bundles=payload.bundles,
                import_folders=payload.import_folders,
            )
        return self._group

    def _begin(self) -> dict[str, Plain] | None:
        """First step of a trial: wait until all slots are up, off the clock, and make everything anew."""
        payload = self._payload
        group = self._make_group()
        if not ray.get(payload.coordinator.begin.remote(self._slot, self._assigned["trial"], _place())):
            return self._end(TrialState.INTERRUPTED, None)
        self._begun = True
        job = job_of(payload, self._assigned)
        done = group.call("begin", job)
        if done:  # the driver may have died before it heard of the last epochs: they are told again, not trained
            self._former = [(past.epoch, dict(past.metrics)) for past in group.call("history")]
        return self._end(TrialState.COMPLETE, None) if done >= job.last_epoch else None

    def _report(self, result: EpochResult) -> dict[str, Plain]:
        pulse = ray.get(self._payload.coordinator.pulse.remote(self._assigned["trial"]))
        report: dict[str, Plain] = {
            "trial": self._assigned["trial"],
            "epoch": result.epoch,
            # in pairs: Tune would keep running averages of every number that it finds in a mapping
            "metrics": list({**result.metrics, "cotenants": float(pulse.cotenants), **result.system}.items()),
            "checkpoint": result.checkpoint,
            "former": self._take_former(),
            "end": None,
            "done": result.done,
        }
        if result.done:
            report["end"] = (TrialState.COMPLETE, None)
        elif pulse.draining:
            assert self._group is not None
            report["checkpoint"] = self._group.call("checkpoint") if self._payload.checkpoints else None
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
