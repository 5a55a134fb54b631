"""The public face as type checkers and editors see it; `__init__.py` loads the same names on first use.

What one searches with: Study, StudySpec, Front, Export. What one's own training generator is handed: Rank, whose
loaders give a Batch. What one's own strategy is made of: Strategy, Knob with Range or Choice, StrategyError; Saves and
Site, as every strategy must say what it saves and what it takes; TrainingRun, which every hook is handed.
"""

from tune_cnn.errors import StrategyError
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.spec.study import StudySpec
from tune_cnn.study.export import Export
from tune_cnn.study.front import Front
from tune_cnn.study.study import Study
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.user_code.training import Rank

__all__ = [
    "Batch",
    "Choice",
    "Export",
    "Front",
    "Knob",
    "Range",
    "Rank",
    "Saves",
    "Site",
    "Strategy",
    "StrategyError",
    "Study",
    "StudySpec",
    "TrainingRun",
]
