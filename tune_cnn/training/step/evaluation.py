"""Evaluation: loss and accuracy of a model on a split, over all ranks."""

import math
from dataclasses import dataclass

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
    """Loss (without label smoothing) and accuracy over the whole split, equal on all ranks. Leaves the model in eval.

    The arithmetic is training's; sums are joined over the ranks before they are divided.
    """
    context.group.share_buffers(model)
    sums = torch.zeros(2, dtype=torch.float64, device=context.device)  # loss, correct
    for batch in evaluation_loader(context, images):
        sums += loss_and_correct(model, context, batch)
    loss_sum, correct = context.group.add_up(sums).tolist()
    return Evaluation(loss=loss_sum / len(images), accuracy=correct / len(images))


def evaluate_first_and_last(model: nn.Module, context: TrialContext, images: ImageSet) -> None:
    """The passes of the two sizes that an evaluation has, for a device to get ready for them."""
    for batch in evaluation_loader(context, images).first_and_last():
        loss_and_correct(model, context, batch)


def loss_and_correct(model: nn.Module, context: TrialContext, batch: Batch) -> Tensor:
    """The sums over a batch, in float64 on the device: cross-entropy, images that were right."""
    images_nchw, labels_n = batch
    view = View.of(context.job.configuration)
    model.eval()
    with torch.inference_mode():
        with context.precision.autocast(context.device):
            logits = model(images_nchw) if view is None else view.logits(model, images_nchw)
        loss = F.cross_entropy(logits.float(), labels_n, reduction="sum")
        return torch.stack([loss.double(), (logits.argmax(dim=1) == labels_n).sum().double()])
