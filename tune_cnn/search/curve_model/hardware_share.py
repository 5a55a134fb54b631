"""What holds on one share of the hardware alone: what an epoch takes, what fits, and what was tried there."""

from collections import Counter
from dataclasses import dataclass, field

from tune_cnn.search.curve_model.cost_model import CostModel
from tune_cnn.search.curve_model.memory_model import MemoryModel


@dataclass(kw_only=True, eq=False)
class OnShare:
    """A configuration takes other seconds on a quarter of a GPU than on a whole one, and on less power; others fit."""

    memory: MemoryModel
    costs: CostModel = field(default_factory=CostModel)
    tried: Counter[str] = field(default_factory=Counter)  # configurations, by how often
