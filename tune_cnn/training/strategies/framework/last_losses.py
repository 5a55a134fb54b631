"""The last loss of every training image, as the steps of all ranks have seen it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tune_cnn.training.data.readers import Int64
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped


class LastLosses:
    """NaN for an image that has not been seen. `record` in a step, `join` at an epoch's end."""

    def __init__(self) -> None:
        self._known_n = torch.empty(0)  # by all ranks, as of the last epoch's end
        self._seen_n = torch.empty(0)  # on this rank, in this epoch

    def begin(self, run: TrainingRun) -> None:
        """Idempotent."""
        if not len(self._known_n):
            self._known_n, self._seen_n = (
                torch.full((len(run.train_images),), torch.nan, device=run.device) for _ in range(2)
            )

    def record(self, positions_n: Int64, losses_n: Tensor) -> None:
        """Of these images, on this rank; doesn't wait for the device."""
        self._seen_n[torch.from_numpy(positions_n).to(losses_n.device, non_blocking=True)] = losses_n.detach().float()

    def join(self, run: TrainingRun) -> None:
        """What the ranks have seen in an epoch, known to all."""
        seen_n = self._seen_n.isfinite()
        sums_n = run.add_up(self._seen_n.nan_to_num(0.0, 0.0, 0.0).double())
        counts_n = run.add_up(seen_n.double())
        self._known_n = torch.where(counts_n > 0, (sums_n / counts_n).float(), self._known_n)
        self._seen_n = torch.full_like(self._seen_n, torch.nan)

    def read(self) -> Tensor:
        """Those of the epochs before, on the CPU."""
        return self._known_n.cpu()

    def state_dict(self) -> dict[str, Untyped]:
        return {"known": self._known_n, "seen": self._seen_n}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._known_n, self._seen_n = (state[key].to(run.device, copy=True) for key in ("known", "seen"))
