"""A training that does nothing, and tells of epochs that look like some."""

import hashlib
import json

from tune_cnn.training.messages import EpochResult, TrainingJob


class NothingLoop:
    """One rank; what `trials` needs of it."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def listen(self, host: str) -> str:
        return host

    def join(self, *, ranks: int, init_method: str, cuda: bool) -> None:
        pass

    def begin(self, job: TrainingJob) -> int:
        self.job, self.epoch = job, 0
        return 0

    def history(self) -> list[EpochResult]:
        return []

    def train_epoch(self) -> EpochResult:
        self.epoch += 1
        metrics = made_up(self.job.configuration.params(), self.epoch)
        return EpochResult(epoch=self.epoch, metrics=metrics, done=self.epoch >= self.job.last_epoch)

    def checkpoint(self) -> str | None:
        return None

    def weights(self) -> dict[str, object]:
        return {}

    def test(self) -> dict[str, float]:
        return {}

    def end(self) -> None:
        pass

    def abort(self) -> None:
        pass


def made_up(params: dict[str, object], epoch: int) -> dict[str, float]:
    """Metrics by a hash of the parameters: no two alike, and the same every time."""
    text = json.dumps(params, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).digest()
    drawn, slow = (int.from_bytes(digest[at : at + 8], "big") / 2**64 for at in (0, 8))
    return {
        "accuracy": min(0.999, 0.5 + 0.4 * drawn + 0.01 * epoch),
        "train_time_s": epoch * (0.5 + 4 * slow),
        "val_loss": 1.0 - 0.5 * drawn,
        "train_loss": 0.9 - 0.5 * drawn,
        "eval_time_s": 0.1 * epoch,
        "peak_memory_mib": 100.0 + 50 * drawn,
        "images_per_s": 1000.0,
        "step_time_ms": 5.0,
    }
