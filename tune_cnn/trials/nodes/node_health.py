"""Which nodes lose the trials that others train, and which are slow. Plain, so that it can be tried without Ray."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from tune_cnn.errors import HARDWARE

LOST_IN_A_ROW = 2  # trials in whose processes a node is suspect: one lost process may be anybody's kill
SLOWER = 1.2  # a node's steps against those of the others, from which on it is called slow
LEAST_TRIALS = 5  # of a node, and of all others, before their times are compared
SURE_Z = 2.33  # of a one-sided rank test: a node that is as fast as the others is called slow once in a hundred times


class Happened(StrEnum):
    """What may happen to a trial on a node, or to the node."""

    ENDED = "ended"  # a trial, whatever its end: its process was there to say so
    LOST = "lost"  # a trial's process
    BROKE = "broke"  # a trial's device, as CUDA or the driver says
    GONE = "gone"  # the node with a trial on it
    MOVED = "moved"  # a trial, as the node is going or takes none
    GOING = "going"  # the node has been told that it will be taken away
    ASIDE = "aside"  # the node takes no trials from now on
    BACK = "back"  # it takes them again
    NONE_LEFT = "none left"  # no node takes any: the search waits for one
    GIVEN_UP = "given up"  # none came in time: the search ends


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    node: str  # Ray's id of it
    host: str
    happened: Happened
    trial: int | None = None  # None: of the node itself
    why: str | None = None
    ratio: float | None = None  # of an ended trial: its epochs' time against what was expected of its configuration


class Suspicion:
    """Which nodes lose what others train.

    Counted are the losses since a trial last ended there. Those of a trial that was lost on another node too are its
    own fault. What is left is the node's: a broken device that the driver says is at fault or whose trial has ended
    elsewhere since, or the processes of several trials, one after the other.
    """

    def __init__(self, events: Iterable[NodeEvent] = ()) -> None:
        self._losses: dict[str, list[NodeEvent]] = {}  # by node, since a trial last ended there
        self._lost_on: dict[int, set[str]] = {}
        self._ended_on: dict[int, str] = {}  # the hosts of trials that were lost before, elsewhere
        for event in events:
            self.note(event)

    def note(self, event: NodeEvent) -> None:
        if event.happened in {Happened.BACK, Happened.ENDED}:
            self._losses.pop(event.node, None)
        if event.trial is None:
            return
        if event.happened is Happened.ENDED and event.trial in self._lost_on:
            self._ended_on[event.trial] = event.host
        elif event.happened in {Happened.LOST, Happened.BROKE}:
            self._losses.setdefault(event.node, []).append(event)
            self._lost_on.setdefault(event.trial, set()).add(event.node)

    def suspects(self) -> dict[str, str]:
        """The nodes by id, each with the reason."""
        found = {}
        for node, losses in self._losses.items():
            own = [event for event in losses if event.trial is not None and len(self._lost_on[event.trial]) == 1]
            why = _why(own, self._ended_on)
            if why is not None:
                found[node] = why
        return found


def _why(losses: Sequence[NodeEvent], ended_on: Mapping[int, str]) -> str | None:
    trials = list(dict.fromkeys(event.trial for event in losses if event.trial is not None))
    elsewhere = {trial: ended_on[trial] for trial in trials if trial in ended_on}
    for event in losses:
        if event.happened is Happened.BROKE and HARDWARE in (event.why or ""):
            return f"its device broke under trial {event.trial} ({event.why})"
        if event.happened is Happened.BROKE and event.trial in elsewhere:
            return f"its device broke under trial {event.trial} ({event.why}), which ended on {elsewhere[event.trial]}"
    if len(trials) < LOST_IN_A_ROW:
        return None
    told = f"it lost the processes of trials {', '.join(map(str, trials))} one after the other ({losses[-1].why})"
    ended = next(iter(elsewhere), None)
    return told if ended is None else f"{told}, and trial {ended} ended on {elsewhere[ended]}"


def slow_nodes(ratios: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Nodes whose trials take longer than elsewhere, by how much; `ratios`: of their times to what was expected."""
    found = {}
    for node, mine in ratios.items():
        others = [ratio for other, theirs in ratios.items() if other != node for ratio in theirs]
        if (by := slower(mine, others)) is not None:
            found[node] = by
    return found


def slower(mine: Sequence[float], others: Sequence[float]) -> float | None:
    """How much slower a node is than the others; None: it is not, or too few trials say so.

    It is where the medians lie apart by SLOWER, and a rank test (Mann and Whitney, 1947) hardly leaves it to chance.
    """
    if len(mine) < LEAST_TRIALS or len(others) < LEAST_TRIALS:
        return None
    by = median(mine) / median(others)
    return by if by >= SLOWER and _rank_z(mine, others) >= SURE_Z else None


def _rank_z(mine: Sequence[float], others: Sequence[float]) -> float:
    """How many standard deviations the pairs in which mine is the larger lie above a half of all pairs."""
    ordered = sorted(others)
    larger = sum((bisect_left(ordered, one) + bisect_right(ordered, one)) / 2 for one in mine)
    n, m = len(mine), len(others)
    return (larger - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
