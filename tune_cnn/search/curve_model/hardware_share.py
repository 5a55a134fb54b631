"""What holds on one share of the hardware alone: what an epoch takes, what fits, and what was tried there."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

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


def time_ratio(there: CostModel, here: CostModel) -> float:
    """How many times as long an epoch takes here as there: the median of what is known of both, 1 while nothing is."""
    both = there.keys & here.keys
    pairs = [(there.known(key), here.known(key)) for key in both]
    return float(np.exp(median([np.log(b / a) for a, b in pairs if a and b] or [0.0])))
