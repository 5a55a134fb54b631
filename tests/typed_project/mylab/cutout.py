"""Cutout (DeVries & Taylor, 2017, https://arxiv.org/abs/1708.04552)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn import Batch, Choice, Knob, Range, Saves, Site, Strategy, StrategyError, TrainingRun


class Cutout(Strategy):
    """Hide a square of every image."""

    paper = "DeVries & Taylor, 2017, https://arxiv.org/abs/1708.04552"
    saves = Saves.DATA
    sites = frozenset({Site.SAMPLES})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "side": Knob(allowed=Range(low=1, high=224), default=8, meaning="side of the square, in pixels"),
        "decay": Knob(
            allowed=Choice(values=(False, True)), default=False, meaning="whether weights are pulled to zero"
        ),
    }

    side: int
    decay: bool

    def prepare(self, run: TrainingRun) -> None:
        if self.side >= min(run.facts.image_size):
            raise StrategyError(f"cutout: side={self.side} hides all of {run.facts.image_size}; lower it")

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        self.hidden_images = 0

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        images_nchw, labels_n = batch
        masks: list[Tensor] = []
        for size in images_nchw.shape[-2:]:
            centre_n = torch.randint(size, (len(labels_n), 1), device=run.device)
            masks.append((torch.arange(size, device=run.device) - centre_n).abs() * 2 < self.side)
        hidden = masks[0][:, None, :, None] & masks[1][:, None, None, :]
        self.hidden_images += len(labels_n)
        return Batch(images_nchw.masked_fill(hidden, 0.0), labels_n)

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        if not self.decay:
            return None
        return 1e-4 * nn.utils.parameters_to_vector(run.model.parameters()).square().sum()

    def state_dict(self) -> dict[str, object]:
        return {"hidden_images": self.hidden_images}
