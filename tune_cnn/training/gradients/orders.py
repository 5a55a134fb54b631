"""The images in a metric's order, cut into mini-batches: what stays fixed while the gradients of an epoch are taken."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.order import epoch_order, steps_per_epoch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.gradients.distances import Float64, Take
from tune_cnn.training.gradients.fixed_net import FixedNet
from tune_cnn.training.gradients.measured import CONTROL, OF_LABELS, OF_NET, Asked
from tune_cnn.training.image_scores.class_mix import class_entropy, graded
from tune_cnn.training.image_scores.predicted import losses, prediction_entropy
from tune_cnn.training.image_scores.ranking import find_metric, scored, sorted_by
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.progress import PROGRESS

WHERE = "--metric"
SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": losses,
    "prediction_entropy": lambda logits_nk, labels_n: prediction_entropy(logits_nk),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    batches: list[Int64]  # positions in the training split, each image once
    values_k: Float64  # of each mini-batch
    class_entropy_k: Float64

    @property
    def key(self) -> str:
        return hashlib.blake2b(np.concatenate(self.batches).tobytes(), digest_size=8).hexdigest()


def cut(ranking_n: Int64, batch_size: int) -> list[Int64]:
    """As an epoch of one rank is cut, however many there are: the last one holds what is left."""
    return np.split(ranking_n, range(batch_size, len(cuts(len(ranking_n), batch_size)) * batch_size, batch_size))


def cuts(images: int, batch_size: int) -> list[int]:
    """The sizes of an epoch's mini-batches."""
    steps = steps_per_epoch(images, batch_size, 1)
    return [batch_size] * (steps - 1) + [images - (steps - 1) * batch_size]


def make_order(
    metric: str, asked: Asked, images: ImageSet, batch_size: int, net: FixedNet, take: Take, device: torch.device,
    seed: int,
) -> Order:  # fmt: skip
    """The order of a metric. `seed`: of the study, for what is drawn; `net`: for what a net makes of an image.

    TrialError, naming the metric, where it fails on the images.
    """
    if metric == CONTROL:
        ranking_n = epoch_order(len(images), seed, 0)
        values_n = np.arange(len(images), dtype=np.float64)[np.argsort(ranking_n)]
    elif metric == OF_LABELS:
        ranking_n, values_n = graded(images.labels_n, cuts(len(images), batch_size), seed), None
    elif metric in OF_NET:
        values_nk = _scored_by_net(metric, images, batch_size, net, take)
        ranking_n, values_n = sorted_by(values_nk), values_nk[:, 0]
    else:
        values_nk = _scored_by_metric(metric, asked, images, device)
        ranking_n, values_n = sorted_by(values_nk), values_nk[:, 0]
    batches = cut(ranking_n, batch_size)
    mixes_k = np.array([class_entropy(images.labels_n[batch]) for batch in batches])
    values_k = mixes_k if values_n is None else np.array([values_n[batch].mean() for batch in batches])
    return Order(batches=batches, values_k=values_k, class_entropy_k=mixes_k)


def _scored_by_metric(metric: str, asked: Asked, images: ImageSet, device: torch.device) -> Float64:
    threads = torch.get_num_threads()
    with trial_faults(f"{WHERE} {metric}"):
        found = find_metric(
            metric, images, device, threads, network=asked.backbone, pretrained=asked.pretrained, where=WHERE
        )
        return scored(images, found, device, threads, what=f"{WHERE}: {metric}")


def _scored_by_net(metric: str, images: ImageSet, batch_size: int, net: FixedNet, take: Take) -> Float64:
    parts = []
    for positions_n in cut(np.arange(len(images), dtype=np.int64), batch_size):
        batch = take(positions_n)
        parts.append(SCORES[metric](net.logits(batch), batch.labels_n).cpu().numpy())
        PROGRESS.moved()
    values_nk: Float64 = np.concatenate(parts)
    return values_nk
