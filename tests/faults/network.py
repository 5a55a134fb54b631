"""Faults of the network between two nodes."""

import time
from collections.abc import Callable

from faults.cluster import SEARCH, Nodes, two_nodes
from faults.rows import Case, Row


def network(*, for_s: float | None = None, **how: float | bool) -> Callable[[Case], None]:
    """The link does that from now on, or for so long."""

    def strike(case: Case) -> None:
        nodes = case.nodes
        assert isinstance(nodes, Nodes)
        case.now()
        nodes.tell(**how)
        if for_s is not None:
            time.sleep(for_s)
            nodes.tell(delay_s=0.0, loss=0.0, cut=False)

    return strike


ROWS = [
    Row(
        family="network",
        part="network between two nodes",
        fault=fault,
        strike=strike,
        search=SEARCH,
        prepare=two_nodes,
        patience_s=240.0,
    )
    for fault, strike in (
        ("10 % of packets lost", network(loss=0.1)),
        ("200 ms of delay, each way 100", network(delay_s=0.1)),
        ("cut for 30 s", network(cut=True, for_s=30.0)),
        ("cut for good", network(cut=True)),
    )
]
