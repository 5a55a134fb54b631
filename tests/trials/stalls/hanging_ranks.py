"""Real ranks, of which one stands still in the middle of a training while the other waits for it in a collective."""

import time
from pathlib import Path

from tune_cnn.training.messages import EpochResult
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.rank import RankTraining


class HangingRank(RankTraining):
    """Rank 1 stands still once, in its second epoch."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.rank = rank

    def train_epoch(self) -> EpochResult:
        hung = Path(self._current.context.job.cache_dir) / "hung"
        if self.rank == 1 and len(self.history()) == 1 and not hung.exists():
            hung.touch()
            with PROGRESS.doing(Doing.TRAINING):
                time.sleep(600)
        return super().train_epoch()
