"""Rank the training images by a metric."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tune_cnn.errors import TrialError
from tune_cnn.spec.calls import find_call, resolve
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.image_scores.canny import edges
from tune_cnn.training.image_scores.pixels import intensity, mean_colour
from tune_cnn.untyped import Untyped

Float64 = NDArray[np.float64]
Metric = Callable[[Tensor], Tensor]  # uint8 images (n, c, h, w) -> (n, k), sorted by the first column first

AT_ONCE = 256  # images; the features of a batch must fit beside the model
PIXEL_METRICS: dict[str, Metric] = {"intensity": intensity, "colour": mean_colour, "edges": edges}


def ranked(images: ImageSet, metric: Metric, device: torch.device, threads: int) -> Int64:
    """Positions of a split's images, from the least value to the greatest; of equal ones the first comes first."""
    return sorted_by(scored(images, metric, device, threads, what="minibatch_order: the metric"))


def scored(images: ImageSet, metric: Metric, device: torch.device, threads: int, *, what: str) -> Float64:
    """(n, k) what the metric gives for a split's images; TrialError, naming `what`, where one has no number."""
    batches = [metric(batch).cpu().numpy().astype(np.float64) for batch in _batches(images, device, threads)]
    values_nk: Float64 = np.concatenate(batches)
    if np.isnan(values_nk).any():
        raise TrialError(f"{what} gave nan for an image; it must give a number for each")
    return values_nk


def sorted_by(values_nk: Float64) -> Int64:
    """Positions from the least value to the greatest, by the first column first; equal ones keep their order."""
    return np.lexsort(values_nk.T[::-1]).astype(np.int64)


def find_metric(
    name: str,
    images: ImageSet,
    device: torch.device,
    threads: int,
    *,
    network: str,
    pretrained: bool,
    where: str = "strategies.minibatch_order.metric",
) -> Metric:
    """The metric of this name, or the user's own. `network` and `pretrained` are for the perceptual one alone.

    where: the key or option that named it.
    """
    if name in PIXEL_METRICS:
        return PIXEL_METRICS[name]
    if ":" in name:
        return _users(name, where)
    assert name == "perceptual", name
    distances = perceptual("distances")
    features = perceptual("backbone")(network, pretrained=pretrained).to(device)
    mean_chw = mean_image(images, device, threads)
    return lambda images_nchw: distances(features, images_nchw, mean_chw)


def mean_image(images: ImageSet, device: torch.device, threads: int) -> Tensor:
    """(c, h, w) the mean of a split's images, from 0 to 255."""
    sums = [batch.sum(dim=0, dtype=torch.float64) for batch in _batches(images, device, threads)]
    return (torch.stack(sums).sum(dim=0) / len(images)).to(torch.float32)


def perceptual(name: str) -> Untyped:
    """What has this name in perceptual.py, imported when asked for: torchvision takes each slot 4 s."""
    return resolve(f"tune_cnn.training.image_scores.perceptual:{name}")


def _batches(images: ImageSet, device: torch.device, threads: int) -> Iterator[Tensor]:
    for start in range(0, len(images), AT_ONCE):
        positions_n = np.arange(start, min(start + AT_ONCE, len(images)), dtype=np.int64)
        yield torch.from_numpy(images.fetch(positions_n, threads)).to(device)


def _users(name: str, where: str) -> Metric:
    """f(images): uint8 (n, c, h, w) -> n numbers, a tensor or an array."""
    call = find_call(name, where=where)

    def values(images_nchw: Tensor) -> Tensor:
        found = torch.as_tensor(call(images_nchw)).to(torch.float64)
        if found.shape != (len(images_nchw),):
            raise TrialError(
                f"{where}: {name} must give one number an image, shape ({len(images_nchw)},); got {tuple(found.shape)}"
            )
        return found[:, None]

    return values
