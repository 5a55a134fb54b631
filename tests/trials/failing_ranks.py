"""Real ranks, of which one fails before the trial's first collective."""

import os
from pathlib import Path

from tune_cnn.errors import TrialError
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining


class FailingRank(RankTraining):
    """Rank 1 raises in trial 2, and is killed in the first try of trial 3, while rank 0 gets ready."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.rank = rank

    def begin(self, job: TrainingJob) -> int:
        if self.rank == 1 and job.trial == 2:
            raise TrialError("rank 1 can't read its images")
        killed = Path(job.cache_dir) / "killed"
        if self.rank == 1 and job.trial == 3 and not killed.exists():
            killed.touch()
            os._exit(1)
        return super().begin(job)
