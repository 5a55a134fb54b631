"""Run functions of the training room on nodes that have a trial's resources, so that the driver needs no torch."""

from collections.abc import Mapping, Sequence

from tune_cnn.errors import TuneCnnError
from tune_cnn.spec.calls import resolve
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import add_import_folders, import_folders
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

PATIENCE_S = 60.0  # for what is asked beside other work: a worker's cold start takes some 10 s
IMPORTS_S = 600.0  # for torch from a cold network disk
CALL_S = 43_200.0  # for one call: a node may have to download and decode the largest set of images first
_LOST = (NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError)


class CallLost(TuneCnnError):
    """The process of a call died before it answered."""

    def __init__(self, error: Exception) -> None:
        self.out_of_memory = isinstance(error, OutOfMemoryError)  # Ray itself has ended it, for its node's sake
        super().__init__(
            "out of memory: its node had none left, so Ray ended its process"
            if self.out_of_memory
            else "its process died: killed, as by a machine without memory left, or crashed in compiled code"
        )


def call_on_node(path: str, bundle: Mapping[str, float], *args: object, **kwargs: object) -> Untyped:
    """The result of `package.module:function`; what it raised is raised here as it was, or TuneCnnError."""
    task = _call.options(**_options(bundle), max_retries=1)
    answer = answer_of(task.remote(path, args, kwargs, import_folders()))
    if isinstance(answer, CallLost | TimeoutError):
        raise TuneCnnError(f"{path.partition(':')[2]} on a node with a trial's resources: {answer}") from None
    if isinstance(answer, Exception):
        raise answer from None
    return answer


def call_on_each(path: str, bundles: Sequence[Mapping[str, float]]) -> list[Untyped]:
    """Call a function once with each of these resources, at the same time; its error where it raised or took long."""
    refs = [_call.options(**_options(bundle)).remote(path, (), {}, import_folders()) for bundle in bundles]
    ready = set(ray.wait(refs, num_returns=len(refs), timeout=PATIENCE_S)[0]) if refs else set()
    late = TimeoutError(f"no answer in {PATIENCE_S:.0f} s")
    return [answer_of(ref) if ref in ready else late for ref in refs]


class ActorPool:
    """Processes with a trial's resources each, which call a function all at the same time, warm from call to call."""

    def __init__(self, path: str, bundle: Mapping[str, float], count: int) -> None:
        """The cluster must have so many times `bundle`: a call waits until they are free."""
        self._path, self._bundle = path, bundle
        self._members: list[Untyped] = [None] * count

    def call(self, *args: object, **kwargs: object) -> Sequence[Untyped]:
        """What it returned in each; where it raised, its error, where its process died, CallLost.

        Such a process is replaced at the next call: its device may be of no more use.
        """
        self._members = [member or self._hire() for member in self._members]
        loaded = [member.load.remote(self._path) for member in self._members]
        # imports take seconds: the first would end before the last began
        ray.wait(loaded, num_returns=len(loaded), timeout=IMPORTS_S)
        answers = [answer_of(ref) for ref in [m.call.remote(self._path, args, kwargs) for m in self._members]]
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                self._dismiss(number)
        return answers

    def close(self) -> None:
        """End the processes."""
        for number in range(len(self._members)):
            self._dismiss(number)

    def _hire(self) -> Untyped:
        return _Member.options(**_options(self._bundle)).remote(import_folders())  # type: ignore[attr-defined]  # Ray adds it

    def _dismiss(self, number: int) -> None:
        member, self._members[number] = self._members[number], None
        if member is not None:
            ray.kill(member)


@ray.remote(max_restarts=0)
class _Member:
    def __init__(self, folders: tuple[str, ...]) -> None:
        add_import_folders(folders)

    def load(self, path: str) -> None:
        resolve(path)

    def call(self, path: str, args: tuple[Untyped, ...], kwargs: dict[str, Untyped]) -> Untyped:
        return resolve(path)(*args, **kwargs)


@ray.remote
def _call(path: str, args: tuple[Untyped, ...], kwargs: dict[str, Untyped], folders: tuple[str, ...]) -> Untyped:
    add_import_folders(folders)
    return resolve(path)(*args, **kwargs)


def _options(bundle: Mapping[str, float]) -> dict[str, Untyped]:
    other = {key: value for key, value in bundle.items() if key not in {"CPU", "GPU"}}
    return {"num_cpus": bundle.get("CPU", 1), "num_gpus": bundle.get("GPU", 0), "resources": other or None}


def answer_of(ref: Untyped, *, within_s: float = CALL_S) -> Untyped:
    """What was returned, or the error that was raised, as it was raised there; TimeoutError where none came in time."""
    try:
        return ray.get(ref, timeout=within_s)
    except GetTimeoutError:
        return TimeoutError(f"no answer in {within_s:.0f} s")
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except _LOST as error:
        return CallLost(error)
