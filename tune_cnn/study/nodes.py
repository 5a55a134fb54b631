"""How the nodes of a study's cluster did: what each trained and lost, which are set aside, and which are slow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from tune_cnn.records.rows import NodeRecord
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent, slow_nodes
from tune_cnn.untyped import Plain

LOSSES = {Happened.LOST, Happened.BROKE, Happened.GONE}
TOLD = {Happened.GONE, Happened.GOING, Happened.ASIDE, Happened.BACK}  # as they happen


@dataclass(kw_only=True)
class NodeSummary:
    """One node of Ray's, from its first trial to now."""

    node: str
    host: str
    trials: int = 0  # that ended there
    lost: int = 0
    moved: int = 0
    aside_since: datetime | None = None
    why: str | None = None  # it is set aside
    is_gone: bool = False
    slower: float | None = None  # than the others, where that is sure
    ratios: list[float] = field(default_factory=list)  # of its trials' times to what was expected of them

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    def as_dict(self) -> dict[str, Plain]:
        """Plain data, for --json and the table."""
        return {
            "node": self.node,
            "host": self.host,
            "trials": self.trials,
            "lost": self.lost,
            "moved": self.moved,
            "gone": self.is_gone,
            "aside_since": self.aside_since and self.aside_since.isoformat(timespec="seconds"),
            "why": self.why,
            "time_ratio": self.ratio,
            "slower": self.slower,
        }


def summaries(events: Iterable[NodeRecord]) -> list[NodeSummary]:
    """The nodes in the order in which they were first heard of."""
    found: dict[str, NodeSummary] = {}
    for event in events:
        node = found.setdefault(event.node, NodeSummary(node=event.node, host=event.host))
        happened = Happened(event.happened)
        node.trials += happened is Happened.ENDED
        node.lost += happened in LOSSES
        node.moved += happened is Happened.MOVED
        node.is_gone = happened is Happened.GONE
        if happened in {Happened.ASIDE, Happened.BACK}:
            is_aside = happened is Happened.ASIDE
            node.aside_since, node.why = (event.at, event.why) if is_aside else (None, None)
        if event.ratio is not None:
            node.ratios.append(event.ratio)
    for name, slower in slow_nodes({node.node: node.ratios for node in found.values()}).items():
        found[name].slower = slower
    return list(found.values())


def notes(nodes: Sequence[NodeSummary]) -> list[str]:
    """What is to be borne in mind of them, a line each."""
    told = [f"node {named(one)} is set aside: {one.why}" for one in nodes if one.aside_since is not None]
    return told + [slow_note(one, one.slower) for one in nodes if one.slower is not None]


def slow_note(node: NodeSummary, slower: float) -> str:
    return (
        f"node {named(node)} is slow: its {len(node.ratios)} trials took {slower:.2f} times as long as such ones take "
        "elsewhere; their times don't compare with those of other nodes"
    )


def named(node: NodeSummary | NodeEvent) -> str:
    """Its host, and the beginning of Ray's id: several nodes may be on a host."""
    return f"{node.host} ({node.node[:8]})"


def in_words(event: NodeEvent) -> str | None:
    """What the user is told as it happens; None: nothing."""
    match event.happened:
        case Happened.GOING:
            return f"node {named(event)} {event.why}: its trials go on elsewhere"
        case Happened.GONE:
            return f"node {named(event)} is gone: trial {event.trial} goes on elsewhere"
        case Happened.ASIDE:
            return f"node {named(event)} is set aside and takes no more trials: {event.why}"
        case Happened.BACK:
            return f"node {named(event)} takes trials again: {event.why}"
        case Happened.NONE_LEFT:
            return event.why
        case _:
            return None
