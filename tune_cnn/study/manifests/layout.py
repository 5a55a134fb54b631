"""How many nodes, cores and GPUs a cluster is asked for: a plain function of the spec."""

import math
from dataclasses import dataclass

from tune_cnn.errors import InputError, ResourceError
from tune_cnn.spec import Resources


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Nodes that are all alike. Each holds whole trials: a trial's ranks share a node."""

    nodes: int
    slots_per_node: int
    cpus_per_node: int
    gpus_per_node: int
    accelerator: str | None = None

    @property
    def slots(self) -> int:
        return self.nodes * self.slots_per_node


def layout(resources: Resources, *, nodes: int | None, slots: int | None) -> Layout:
    """`slots`: trials at a time to ask for (default: the spec's, else one a node), on `nodes` (default: 1).

    Raises ResourceError where the spec leaves open what a cluster must be asked for, InputError where the options
    contradict it.
    """
    nodes = 1 if nodes is None else nodes
    most = resources.slots
    if slots is not None and most is not None and slots > most:
        raise InputError(f"--slots: must be at most resources.slots={most}, got {slots}; lower it or raise the spec's")
    slots = slots or most or nodes
    if nodes > slots:
        raise InputError(
            f"--nodes: a trial's ranks share a node, so there must be a slot for each node, got {nodes} nodes for "
            f"{slots} slots; give --nodes {slots} or fewer, or raise the slots (--slots, resources.slots)"
        )
    per_node = math.ceil(slots / nodes)
    return Layout(
        nodes=nodes,
        slots_per_node=per_node,
        cpus_per_node=per_node * resources.cpus_per_trial,
        gpus_per_node=max(_gpus(resources, share, per_node) for share in _shares(resources)),
        accelerator=_one_type(resources),
    )


def _shares(resources: Resources) -> list[float]:
    shares = [phase.gpus_per_rank for phase in resources.phases]
    if None not in shares:
        return [share for share in shares if share is not None]
    if not resources.accelerators and not resources.power_limits_w:
        raise ResourceError(
            "resources.gpus_per_rank: a cluster must be told whether a trial gets a GPU, and the spec leaves it open; "
            "set it to 0, a fraction or 1, e.g. by --set resources.gpus_per_rank=1"
        )
    return [1.0]  # whoever names a GPU wants one


def _one_type(resources: Resources) -> str | None:
    types = resources.accelerators
    if len(types) > 1:
        raise ResourceError(
            f"resources.accelerator: names {', '.join(types)}, and a manifest asks for nodes that are all alike; write "
            f"one for each, e.g. with --set resources.accelerator={types[0]}, or search through --address on a cluster "
            "that has them all"
        )
    return types[0] if types else None


def _gpus(resources: Resources, share: float, slots: int) -> int:
    """Of one node: whole devices, of which a share is one slot's."""
    if share == 0:
        return 0
    if share == 1:
        return slots * resources.ranks
    return math.ceil(slots / math.floor(1 / share + 1e-9))  # as trials/cluster/machines.py counts a device's slots
