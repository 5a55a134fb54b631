"""Training loops without torch, for tests of scheduling: they sleep instead of training."""

import os
import time

from tune_cnn.errors import TrialError
from tune_cnn.training.job import EpochResult, TrainingJob


class SleepingLoop:
    """One rank that sleeps `training.seconds` an epoch; `training.fault` makes it fail in a named way."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def join(self, *, ranks: int, init_method: str, cuda: bool) -> None:
        self.ranks = ranks

    def begin(self, job: TrainingJob) -> int:
        self.job, self.epoch = job, 0
        return 0

    def history(self) -> list[EpochResult]:
        return []

    def train_epoch(self) -> EpochResult:
        arguments = self.job.configuration.training
        began = time.time()
        time.sleep(arguments.get("seconds", 0.05))
        fault = arguments.get("fault")
        if fault == "raise" and self.rank == arguments.get("rank", 0):
            raise TrialError("the loss became NaN")
        if fault == "memory":
            raise MemoryError("asked for too much")
        if fault == "die" and not os.path.exists(arguments["marker"]):
            open(arguments["marker"], "w").close()
            os._exit(1)
        self.epoch += 1
        metrics = {"accuracy": 0.5, "train_time_s": 1.0, "began": began, "ended": time.time(), "pid": float(os.getpid())}
        return EpochResult(epoch=self.epoch, metrics=metrics, done=self.epoch >= self.job.last_epoch)

    def checkpoint(self) -> str | None:
        return "kept"

    def weights(self) -> dict[str, object]:
        return {}

    def test(self) -> dict[str, float]:
        return {}

    def end(self) -> None:
        pass

    def abort(self) -> None:
        pass
