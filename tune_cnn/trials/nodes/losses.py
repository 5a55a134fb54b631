"""How often a trial was lost, and whether it is tried again. Plain, so that it can be tried without Ray."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from tune_cnn.errors import STALLED


class Loss(StrEnum):
    """What took a trial from its slot before it had ended."""

    MOVED = "moved"  # its node is going, or takes no trials: it has left by itself, with a checkpoint
    NODE = "node"  # its node is gone, and so is every process there
    PROCESS = "process"  # its process died, or can't use its device any more
    STALLED = "stalled"  # its ranks took no step any more


# Losses that a trial survives, each time from its last checkpoint. A lost node is hardly ever the trial's doing, but
# one that fills a machine's memory takes it along. A stall costs `stall_timeout_s` each time.
RETRIES = {Loss.NODE: 5, Loss.PROCESS: 2, Loss.STALLED: 1}


@dataclass
class Losses:
    """Those of the trials of a phase."""

    _of: dict[int, Counter[Loss]] = field(default_factory=dict)

    def again(self, trial: int, loss: Loss, why: str) -> str | None:
        """None where the trial is tried again; else the reason of its end."""
        if loss is Loss.MOVED:
            return None
        mine = self._of.setdefault(trial, Counter())
        mine[loss] += 1
        if mine[loss] <= RETRIES[loss]:
            return None
        if loss is Loss.STALLED:
            return f"{why}; it was the second time"
        return f"given up after {mine.total()} tries: {why}"

    def forget(self, trial: int) -> None:
        """It has ended."""
        self._of.pop(trial, None)


def loss_of(why: str, *, node_is_gone: bool) -> Loss:
    """What a lost trial was lost to, by what its error says and whether its node is still there."""
    if why.startswith(STALLED):
        return Loss.STALLED
    return Loss.NODE if node_is_gone else Loss.PROCESS
