"""Ask every node of a cluster, all at the same time and each with a bound: a node that is frozen holds up nobody."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tune_cnn.errors import TuneCnnError
from tune_cnn.spec.calls import resolve
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import add_import_folders, import_folders
from tune_cnn.trials.cluster.remote import CallLost, answer_of
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import RayError  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip


class NoAnswer(TuneCnnError):
    """A node has not answered within its time."""

    def __init__(self, within_s: float) -> None:
        super().__init__(f"no answer in {within_s:.0f} s")


class EveryNode:
    """A process on each node, which takes no share of its resources."""

    def __init__(self) -> None:
        found = [node for node in ray.nodes() if node["Alive"]]
        plain = {node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in found}
        # By name: host and address, with Ray's id where two would be called the same.
        self.addresses: dict[str, str] = {}
        self._asked: dict[str, Untyped] = {}
        for node in found:
            key = node["NodeID"]
            name = plain[key] if list(plain.values()).count(plain[key]) == 1 else f"{plain[key]} {key[:6]}"
            self.addresses[name] = node["NodeManagerAddress"]
            on = NodeAffinitySchedulingStrategy(key, soft=False)
            self._asked[name] = _Asked.options(scheduling_strategy=on, num_cpus=0).remote(import_folders())  # type: ignore[attr-defined]  # Ray adds it

    def ask(self, path: str, arguments: Mapping[str, tuple[object, ...]], *, within_s: float) -> dict[str, Untyped]:
        """Call `package.module:function` on the nodes that arguments are given for: what it returned, or its error."""
        refs = {name: self._asked[name].call.remote(path, args) for name, args in arguments.items()}
        waiting = list(refs.values())
        ready = set(ray.wait(waiting, num_returns=len(waiting), timeout=within_s)[0]) if waiting else set()
        return {name: _answered(ref) if ref in ready else NoAnswer(within_s) for name, ref in refs.items()}

    def clock(self, name: str, *, within_s: float) -> tuple[float, float, float] | None:
        """When it was asked, its clock, and when it answered, in seconds; None where it didn't."""
        asked_s = time.time()
        try:
            there_s = ray.get(self._asked[name].clock.remote(), timeout=within_s)
        except RayError:
            return None
        return asked_s, float(there_s), time.time()

    def close(self) -> None:
        for actor in self._asked.values():
            ray.kill(actor)


@contextmanager
def every_node() -> Iterator[EveryNode]:
    """Until the block ends; needs Ray connected."""
    nodes = EveryNode()
    try:
        yield nodes
    finally:
        nodes.close()


def _answered(ref: Untyped) -> Untyped:
    try:
        answer = answer_of(ref)
        lost = "lost: the node has died or stopped answering, or the process that was asked there was killed"
        return TuneCnnError(lost) if isinstance(answer, CallLost) else answer
    except RayError as error:  # a node that was lost, a runtime environment that can't be made, other packages there
        return TuneCnnError((str(error).strip() or type(error).__name__).splitlines()[-1])


@ray.remote(max_restarts=0)
class _Asked:
    def __init__(self, folders: tuple[str, ...]) -> None:
        add_import_folders(folders)

    def call(self, path: str, args: tuple[Untyped, ...]) -> Untyped:
        return resolve(path)(*args)

    def clock(self) -> float:
        return time.time()
