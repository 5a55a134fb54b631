"""Evaluation: loss and accuracies of a model on a split, over all ranks."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.errors import DIVERGED, TrialError
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.evaluate import EvaluationLoader
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.step.context import TrialContext


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    loss: float  # mean cross-entropy, nat
    accuracy: float
    balanced_accuracy: float  # mean over the classes that have images

    def metrics(self) -> dict[str, float]:
        """Of the validation split."""
        return {"val_loss": self.loss, "accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}


def check_finite(name: str, value: float, epoch: int) -> None:
    """TrialError where a loss of that epoch, from 0, is none."""
    if not math.isfinite(value):
        raise TrialError(f"{name} became {value} in epoch {epoch + 1}: {DIVERGED}")


def evaluation_images(context: TrialContext) -> int:
    """How many images a rank's pass takes.

    Twice what a training pass takes: without gradients a pass keeps so little per image that this fits wherever
    training did, and the peak of memory stays training's. More, where the warm-up saw that more need no more.
    """
    configuration = context.job.configuration
    usual = max(1, 2 * configuration.batch_size // (context.group.ranks * configuration.accumulate))
    return context.seen.evaluation_images or usual


def evaluation_loader(context: TrialContext, images: ImageSet, *, whole: bool = False) -> EvaluationLoader:
    """This rank's share of a split, or all of it."""
    group, configuration = context.group, context.job.configuration
    rank, ranks = (0, 1) if whole else (group.rank, group.ranks)
    return EvaluationLoader(
        images=images,
        facts=context.images.facts,
        batch_size=evaluation_images(context) * ranks,
        rank=rank,
        ranks=ranks,
        device=context.device,
        channels_last=configuration.channels_last,
        resident=context.resident if configuration.loader == "device" else None,
        threads=context.job.threads,
        view=View.of(configuration),
    )


def evaluate(model: nn.Module, context: TrialContext, images: ImageSet) -> Evaluation:
    """Loss (without label smoothing and class weights) and accuracies over a split, equal on all ranks.

    Leaves the model in eval.

    The arithmetic is training's; sums are joined over the ranks before they are divided.
    """
    context.group.share_buffers(model)
    counts_k = np.bincount(images.labels_n, minlength=context.images.facts.num_classes)
    sums = torch.zeros(1 + len(counts_k), dtype=torch.float64, device=context.device)
    for batch in evaluation_loader(context, images):
        sums += loss_and_correct(model, context, batch)
    loss_sum, *correct_k = context.group.add_up(sums).tolist()
    recalls = [correct / count for correct, count in zip(correct_k, counts_k.tolist(), strict=True) if count]
    return Evaluation(
        loss=loss_sum / len(images),
        accuracy=math.fsum(correct_k) / len(images),
        balanced_accuracy=math.fsum(recalls) / len(recalls),
    )


def evaluate_first_and_last(model: nn.Module, context: TrialContext, images: ImageSet) -> None:
    """The passes of the two sizes that an evaluation has, for a device to get ready for them."""
    for batch in evaluation_loader(context, images).first_and_last():
        loss_and_correct(model, context, batch)


def loss_and_correct(model: nn.Module, context: TrialContext, batch: Batch) -> Tensor:
    """The sums over a batch, in float64 on the device: cross-entropy, and for each class its images that were right."""
    images_nchw, labels_n = batch
    view = View.of(context.job.configuration)
    model.eval()
    with torch.inference_mode():
        with context.precision.autocast(context.device):
            logits = model(images_nchw) if view is None else view.logits(model, images_nchw)
        loss = F.cross_entropy(logits.float(), labels_n, reduction="sum")
        right_n = (logits.argmax(dim=1) == labels_n).double()
        # Sums of ones are exact in any order, and so the same however the device adds them.
        correct_k = right_n.new_zeros(logits.shape[1]).index_add_(0, labels_n, right_n)
        return torch.cat([loss.double()[None], correct_k])
