"""GPUs at a phase's power limit: a process on every node with GPUs holds it there as long as the search runs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.training.power.holding import PowerHolder, restore_left
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import add_import_folders, import_folders
from tune_cnn.trials.cluster.remote import answer_of, call_on_each
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

log = logging.getLogger(__name__)
RESTORE = "tune_cnn.training.power.holding:restore_left"
HOLD_S = 120.0  # a process is started, and NVML asked of every GPU
RELEASE_S = 20.0  # for all nodes together; what is not restored by then, the next start of a search restores


class Power(Protocol):
    """What a study's steps need of its GPUs' power."""

    def hold(self, watts: float | None) -> None: ...


class AsItIs:
    """The GPUs of a study that doesn't say what power they may take."""

    def hold(self, watts: float | None) -> None:
        """Nothing to do: no phase has a limit."""
        assert watts is None


class HeldPower:
    """The limits of all GPUs that a study's trials may come to; Ray must be connected."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._keepers: dict[str, Untyped] = {}  # by node

    def hold(self, watts: float | None) -> None:
        """Limit them from now on; ResourceError where that can't be, in this phase or in another of the study's."""
        assert watts is not None, "every phase of the study has a limit"
        here = gpu_nodes(self._resources.accelerators)
        self._keepers = {node: self._keepers.get(node) or _keeper_on(node) for node in here}
        phases = self._resources.power_limits_w
        held = {node: keeper.hold.remote(watts, phases) for node, keeper in self._keepers.items()}
        for node, ref in held.items():
            answer = answer_of(ref, within_s=HOLD_S)
            if isinstance(answer, TimeoutError):
                raise ResourceError(f"resources.power_limit_w: node {node} has not set its GPUs' limit: {answer}")
            if isinstance(answer, Exception):
                raise answer

    def release(self) -> None:
        """All as they were. Never raises: what can't be restored now is so at the next start of a search."""
        keepers, self._keepers = list(self._keepers.values()), {}
        refs = [keeper.release.remote() for keeper in keepers]
        done, late = ray.wait(refs, num_returns=len(refs), timeout=RELEASE_S) if refs else ([], [])
        failed = [answer for answer in map(answer_of, done) if isinstance(answer, Exception)]
        if late or failed:
            log.warning("power limits are not restored on %d nodes; the next search does it", len(late) + len(failed))
        for keeper in keepers:
            ray.kill(keeper)


@contextmanager
def power_of(resources: Resources) -> Iterator[Power]:
    """The power of a study's GPUs, restored when the block ends, however it ends."""
    if not resources.power_limits_w:
        yield AsItIs()
        return
    power = HeldPower(resources)
    try:
        yield power
    finally:
        power.release()


def restored_limits(*, on_cluster: bool) -> list[str]:
    """Restore the limits that killed searches have left, here or on a cluster's nodes; a line for the user on each."""
    if not on_cluster:
        return restore_left()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    lines: list[str] = []
    for answer in call_on_each(RESTORE, [{"CPU": 0, f"node:{node['NodeManagerAddress']}": 0.001} for node in nodes]):
        if isinstance(answer, Exception):  # its trials will meet the same, and say it
            log.warning("a node was not asked for power limits that a search has left: %s", answer)
        else:
            lines += answer
    return lines


def gpu_nodes(accelerators: Sequence[str]) -> list[str]:
    """Nodes on which trials with GPUs, of one of these types where some are named, may run."""
    types = [f"accelerator_type:{name}" for name in accelerators]
    with_gpus = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    return [n["NodeID"] for n in with_gpus if not types or any(n["Resources"].get(name) for name in types)]


@ray.remote(num_cpus=0, max_restarts=0)
class _Keeper:
    """Holds the limits of its node's GPUs."""

    def __init__(self, folders: tuple[str, ...]) -> None:
        add_import_folders(folders)
        self._holder = PowerHolder()

    def hold(self, watts: float, phases: Sequence[float]) -> None:
        self._holder.hold(watts, phases)

    def release(self) -> None:
        self._holder.release()


def _keeper_on(node: str) -> Untyped:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return _Keeper.options(scheduling_strategy=there).remote(import_folders())  # type: ignore[attr-defined]  # Ray's decorator adds it
