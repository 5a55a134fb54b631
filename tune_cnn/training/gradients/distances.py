"""Two passes over an order's mini-batches: the full gradient first, then how far each mini-batch's lies from it.

Lasky et al., "What's the Best Mini-batch?", keep every mini-batch's gradient of an epoch on disk and compare them
afterwards. The gradients are computed a second time here, which needs no more room than two of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tune_cnn.errors import TrialError
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.gradients.fixed_net import FixedNet
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.progress import PROGRESS
from tune_cnn.untyped import Untyped

Float64 = NDArray[np.float64]
Take = Callable[[Int64], Batch]  # positions in the training split -> images as an evaluation would have them, labels


@dataclass(frozen=True, kw_only=True, eq=False)
class FullGradient:
    """The mean over all images, by parameter, in float64."""

    parts: list[Tensor]
    loss: float

    @property
    def norm(self) -> float:
        return math.sqrt(sum(part.square().sum().item() for part in self.parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Distances:
    """Of the mini-batches k in their order."""

    l2_k: Float64
    cosine_k: Float64
    norm_k: Float64
    layers: dict[str, Float64]  # relative to the layer's full gradient


def full_gradient(net: FixedNet, batches: Sequence[Int64], take: Take, group: ProcessGroup) -> FullGradient:
    """The mini-batches' gradients, each weighing its images; equal on all ranks, who share the mini-batches.

    A rank takes whole mini-batches: half of one would be another one to batch normalisation. TrialError where a
    gradient is not finite.
    """
    parts, images = net.zeros(), sum(map(len, batches))
    loss_sum, fault = 0.0, None
    for number in range(group.rank, len(batches), group.ranks):
        loss, found = net.gradient(take(batches[number]), number)
        PROGRESS.moved()
        fault = fault or _not_finite(net, number, len(batches), loss, found)
        weight = len(batches[number]) / images
        loss_sum += weight * loss
        for part, one in zip(parts, found, strict=True):
            part.add_(one, alpha=weight)
    faults = [one for one in group.gather(fault) if one is not None]
    if faults:
        raise TrialError(min(faults)[1])
    for part in parts:
        group.add_up(part)
    return FullGradient(parts=parts, loss=sum(group.gather(loss_sum)))


def distances(
    net: FixedNet, full: FullGradient, batches: Sequence[Int64], take: Take, group: ProcessGroup
) -> Distances:
    """How far each mini-batch's gradient lies from the full one, by all parameters and by layer; equal on all ranks."""
    mine = []
    for number in range(group.rank, len(batches), group.ranks):
        _, found = net.gradient(take(batches[number]), number)
        PROGRESS.moved()
        mine.append((number, _sums(found, full.parts)))
    sums_kp3 = np.stack([sums for _, sums in sorted(_joined(group.gather(mine)), key=lambda one: one[0])])
    own_kp, apart_kp, along_kp = np.moveaxis(sums_kp3, 2, 0)
    full_p = np.array([part.square().sum().item() for part in full.parts])
    norm_k, full_norm = np.sqrt(own_kp.sum(axis=1)), math.sqrt(full_p.sum())
    product_k = norm_k * full_norm
    along_k = np.divide(along_kp.sum(axis=1), product_k, out=np.zeros_like(norm_k), where=product_k > 0)
    layers: dict[str, Float64] = {}
    for layer in dict.fromkeys(net.layers):
        of_layer_p = np.array([one == layer for one in net.layers])
        length = math.sqrt(full_p[of_layer_p].sum())
        if length > 0:  # else nothing of it learns in this epoch
            layers[layer] = np.sqrt(apart_kp[:, of_layer_p].sum(axis=1)) / length
    return Distances(l2_k=np.sqrt(apart_kp.sum(axis=1)), cosine_k=1 - along_k, norm_k=norm_k, layers=layers)


def _sums(found: Sequence[Tensor], full: Sequence[Tensor]) -> Float64:
    """(p, 3) by parameter: |g|², |g - G|² and g·G, in float64. The device is waited for once."""
    rows = []
    for one, whole in zip(found, full, strict=True):
        exact = one.double()
        rows.append(torch.stack([exact.square().sum(), (exact - whole).square().sum(), (exact * whole).sum()]))
    sums: Float64 = torch.stack(rows).cpu().numpy()
    return sums


def _not_finite(net: FixedNet, number: int, of: int, loss: float, found: Sequence[Tensor]) -> tuple[int, str] | None:
    bad = [name for name, one in zip(net.names, found, strict=True) if not torch.isfinite(one).all()]
    if not bad and math.isfinite(loss):
        return None
    what = f"the gradient of {bad[0]} is not finite" if bad else f"the loss is {loss}"
    others = f", nor of {len(bad) - 1} other parameters" if len(bad) > 1 else ""
    return number, (
        f"mini-batch {number + 1} of {of}: {what}{others}: there is no distance to it; lower learning_rate, or set "
        "gradient_clip, and look whether the model divides by 0 or takes the root or the logarithm of 0"
    )


def _joined(parts: Sequence[Sequence[Untyped]]) -> list[Untyped]:
    return [one for part in parts for one in part]
