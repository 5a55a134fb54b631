"""What holds on one share of the hardware alone: what an epoch takes, what fits, and what was tried there."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from tune_cnn.search.curve_model.candidates import Candidate
from tune_cnn.search.curve_model.cost_model import CostModel
from tune_cnn.search.curve_model.memory_model import MemoryModel
from tune_cnn.untyped import Plain

Part = tuple[float, float | None, str | None]  # share of a GPU, limit of its power, type of accelerator


@dataclass(kw_only=True, eq=False)
class OnShare:
    """A configuration takes other seconds on a quarter of a GPU than on a whole one, on less power, and on another
    type; others fit."""

    part: Part
    possible: Mapping[str, Collection[Plain]] = field(default_factory=dict)  # values that it can train, by key
    memory: MemoryModel
    costs: CostModel = field(default_factory=CostModel)
    tried: Counter[str] = field(default_factory=Counter)  # configurations, by how often

    def can_train(self, params: Mapping[str, Plain]) -> bool:
        return all(params[key] in values for key, values in self.possible.items() if key in params)

    def worth_trying(
        self, offered: Sequence[Candidate], within_s: float | None, *, strict: bool = False
    ) -> list[Candidate]:
        """Those not tried that are expected to fit into memory, and to end an epoch in that time.

        Unless `strict`, where there are none, those of the fitting, or of all, that were tried least often.
        """
        offered = [c for c in offered if self.can_train(c.params)]
        if not offered:
            return []
        too_large_c = self.memory.too_large(np.stack([c.row_d for c in offered]))
        fitting = [c for c, no in zip(offered, too_large_c, strict=True) if not no and self._in_time(c, within_s)]
        if strict:
            return [c for c in fitting if not self.tried[c.key]]
        left = fitting or offered
        least = min(self.tried[c.key] for c in left)
        return [c for c in left if self.tried[c.key] == least]

    def _in_time(self, candidate: Candidate, within_s: float | None) -> bool:
        """Whether its first epoch ends in that time; one whose time is not known is taken to."""
        if within_s is None:
            return True
        epoch_time_s = self.costs.known(candidate.cost)
        return epoch_time_s is None or epoch_time_s <= within_s


def time_ratio(there: CostModel, here: CostModel) -> float:
    """How many times as long an epoch takes here as there: the median of what is known of both, 1 while nothing is."""
    both = there.keys & here.keys
    pairs = [(there.known(key), here.known(key)) for key in both]
    return float(np.exp(median([np.log(b / a) for a, b in pairs if a and b] or [0.0])))
