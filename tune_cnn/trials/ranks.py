"""A trial's ranks: rank 0 in the Trainable's own process, the others as actors on the trial's other bundles."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tune_cnn.errors import DeviceLost, PeerLost
from tune_cnn.spec.calls import resolve
from tune_cnn.training.messages import EpochResult, LeftEpoch, TrainingJob
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import add_import_folders
from tune_cnn.trials.stalls.beats import Beats
from tune_cnn.trials.stalls.stalls import USERS_S
from tune_cnn.trials.waiting import answered
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

log = logging.getLogger(__name__)

TRAINING = "tune_cnn.training.rank:RankTraining"
BEHIND_S = USERS_S  # ranks end in step; in the user's own training one may have more to do than rank 0
HERE_S = 60.0  # for a result that is known to be there
ABORT_S = 20.0  # an abort takes milliseconds, unless NCCL or the driver hangs in it


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Where the ranks of a group tell of themselves."""

    coordinator: Untyped
    slot: str


class Rank(Protocol):
    """What `trials` needs of one rank's training; the real one is training.rank.RankTraining."""

    def listen(self, host: str) -> str: ...
    def join(self, *, ranks: int, init_method: str, cuda: bool) -> None: ...
    def begin(self, job: TrainingJob) -> int: ...
    def history(self) -> list[EpochResult]: ...
    def train_epoch(self) -> EpochResult | LeftEpoch: ...
    def leave(self, *, within_s: float = 0.0) -> None: ...
    def checkpoint(self) -> str | None: ...
    def weights(self) -> dict[str, Untyped]: ...
    def test(self) -> dict[str, float]: ...
    def end(self) -> None: ...
    def abort(self) -> None: ...


def make_rank(path: str, rank: int) -> Rank:
    """Import the training named `package.module:Class` and make its rank; torch is imported here, not before."""
    made: Rank = resolve(path)(rank)
    return made


@ray.remote(max_restarts=0)
class RankActor:
    """A further rank, in a process of its own."""

    def __init__(
        self, path: str, rank: int, ranks: int, import_folders: Sequence[str], watched: Watched | None
    ) -> None:
        add_import_folders(import_folders)
        if watched is not None:
            Beats(watched.coordinator, watched.slot, rank=rank, ranks=ranks)
        with PROGRESS.doing(Doing.STARTING):
            self._rank = make_rank(path, rank)

    def node(self) -> str:
        return node_id()

    def call(self, method: str, *args: object, **kwargs: object) -> Untyped:
        result = getattr(self._rank, method)(*args, **kwargs)
        return None if method in {"weights", "program"} else result  # equal on all ranks; rank 0's own is kept


class RankGroup:
    """All ranks of a trial as one: a call goes to every rank at once, and a failure of one ends the others."""

    def __init__(
        self,
        path: str,
        *,
        ranks: int,
        cuda: bool,
        bundles: Sequence[Mapping[str, float]],
        import_folders: Sequence[str] = (),
        watched: Watched | None = None,
    ) -> None:
        # The others are asked for first, so that all import torch at the same time.
        told = (ranks, tuple(import_folders), watched)
        self._others = [_rank_actor(bundles[rank], path, rank, *told) for rank in range(1, ranks)]
        self._own = make_rank(path, 0)
        if ranks > 1:
            address = self._own.listen(ray.util.get_node_ip_address())
            self.call("join", ranks=ranks, init_method=address, cuda=cuda)

    def call(self, method: str, *args: object, **kwargs: object) -> Untyped:
        """Call a method on all ranks; returns rank 0's result. A failed rank's error is raised, whichever it was."""
        own: Callable[..., Untyped] = getattr(self._own, method)
        if not self._others:
            return own(*args, **kwargs)
        refs = [other.call.remote(method, *args, **kwargs) for other in self._others]
        watch = _PeerWatch(refs, self._own.abort)
        try:
            result = own(*args, **kwargs)
            answered(refs, f"the other ranks, at the end of {method}", within_s=BEHIND_S)
        except Exception as error:
            cause = _first_cause([error, *watch.end(patience_s=5.0 if isinstance(error, PeerLost) else 0.0)])
            self.close()
            raise cause from error
        watch.end()
        return result

    def nodes(self) -> tuple[str, ...]:
        """Ray's ids of the nodes that the ranks are on, rank 0's first."""
        return tuple(dict.fromkeys([node_id(), *ray.get([other.node.remote() for other in self._others])]))

    def leave(self, *, within_s: float = 0.0) -> None:
        """From another thread, while `train_epoch` is called: have it return a LeftEpoch at the next step.

        An epoch that ends within so many seconds is trained to its end first.
        """
        self._own.leave(within_s=within_s)

    def free(self) -> None:
        """Let rank 0 drop what the last trial held, whatever state it is in."""
        try:
            self._own.end()
        except Exception as error:
            log.warning("rank 0 could not free its last trial: %s", error)

    def close(self) -> None:
        """End the other ranks, never waiting for them. The group can't be called again."""
        if self._others:
            _abort(self._own.abort)  # first: NCCL may wait long for a peer that is gone
        for other in self._others:
            ray.kill(other)


def node_id() -> str:
    """Ray's id of the node that this process is on."""
    here: str = ray.get_runtime_context().get_node_id()
    return here


class _PeerWatch:
    """Looks after the other ranks while rank 0 trains: where one fails, rank 0 would hang in the next collective."""

    def __init__(self, refs: list[Untyped], abort: Callable[[], None]) -> None:
        self._refs, self._abort = refs, abort
        self._errors: list[Exception] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peer-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        waiting = list(self._refs)
        while waiting and not self._ended.is_set():
            done, waiting = ray.wait(waiting, num_returns=1, timeout=0.5)
            try:
                ray.get(done, timeout=HERE_S)
            except RayError as error:
                self._errors.append(_unwrapped(error))
                _abort(self._abort)

    def end(self, *, patience_s: float = 0.0) -> list[Exception]:
        """Stop watching and return what the other ranks raised, having given them so long to say it."""
        self._thread.join(patience_s)
        self._ended.set()
        self._thread.join(ABORT_S + 5.0)  # it looks twice a second, or waits for the abort
        return self._errors


def _abort(abort: Callable[[], None]) -> None:
    """Abort in a thread of its own; where that takes too long, this process is given up, which Tune replaces.

    Rank 0 then waits in a call that nothing can end: for a peer that died while NCCL connected them, or in a driver
    that hangs.
    """
    thread = threading.Thread(target=abort, name="abort", daemon=True)
    thread.start()
    thread.join(ABORT_S)
    if thread.is_alive():
        log.error("a rank was lost, and this one could not be freed in %.0f s: its process is given up", ABORT_S)
        os._exit(1)


def _first_cause(errors: list[Exception]) -> Exception:
    """The error that the others followed from: a rank that lost its peer is a consequence."""
    told = [_unwrapped(error) for error in errors]
    causes = [e for e in told if not isinstance(e, PeerLost)] or [e for e in told if type(e) is not PeerLost]
    return causes[0] if causes else told[0]


def _unwrapped(error: Exception) -> Exception:
    """The error as the rank raised it."""
    return error.cause if isinstance(error, RayTaskError) and isinstance(error.cause, Exception) else error


def lost(error: BaseException) -> bool:
    """Whether the error means a lost process or device, which a fresh process may survive."""
    return isinstance(error, RayActorError | PeerLost | DeviceLost)


def _rank_actor(bundle: Mapping[str, float], path: str, rank: int, *told: object) -> Untyped:
    group = get_current_placement_group()
    assert group is not None, "a trial has a placement group of its own"
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    options = RankActor.options(  # type: ignore[attr-defined]  # Ray's decorator adds it
        num_cpus=bundle.get("CPU", 0), num_gpus=bundle.get("GPU", 0), scheduling_strategy=strategy
    )
    return options.remote(path, rank, *told)
