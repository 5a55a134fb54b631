"""A first layer that whitens patches of the images (Jordan, 2024, https://arxiv.org/abs/2404.00498)."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun

MOST_IMAGES = 5000  # of the paper
MOST_PATCHES = 5_000_000  # what 5,000 images of CIFAR have: larger images need fewer of them
CHUNK_VALUES = 2**24  # of patches laid out at a time: 128 MiB


class Whitening(Strategy):
    """Set the first layer's filters so that its outputs on the images' patches are uncorrelated, and hold them still.

    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, https://arxiv.org/abs/2404.00498, after Page ("How
    to train your ResNet", 2019) and tysam-code (2023). The filters are the eigenvectors of the covariance of the
    training images' patches, each divided by the root of its eigenvalue (+ `eps`), and their opposites; the largest
    eigenvalues come first where the layer has fewer filters. They never learn. A bias that the layer has learns for a
    share of the epochs; then no gradient is computed below the second layer any more. With `compile` that change is
    compiled anew, in the time of the training.
    """

    name = "whitening"
    paper = "Jordan, 2024, https://arxiv.org/abs/2404.00498"
    saves = Saves.DATA
    sites = frozenset({Site.WEIGHT_PARAM})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "eps": Knob(
            allowed=Range(low=1e-8, high=1.0, log=True),
            default=5e-4,
            meaning="added to the variance along an eigenvector, so that one that hardly varies isn't blown up",
        ),
        "bias_until": Knob(
            allowed=Range(low=0.0, high=1.0),
            default=0.3,
            meaning="share of the epochs in which the layer's bias learns",
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "prunetrain": "prunetrain shrinks and cuts filters that whitening holds still",
        "net2net": "net2net makes filters of others that whitening has set",
        "kernel_rescaling": "kernel_rescaling changes the size of the patches that whitening is made for",
    }

    eps: float
    bias_until: float

    def prepare(self, run: TrainingRun) -> None:
        if run.pretrained:
            raise StrategyError(
                "whitening: would overwrite the first layer's pretrained weights; leave one of them out"
            )
        layer = first_layer(run.model, run.facts.in_channels)
        made, values = len(layer.weight), layer.weight[0].numel()
        if made > 2 * values:
            raise StrategyError(
                f"whitening: patches of {values} values give {2 * values} filters at most, but the first layer has "
                f"{made}; give it larger kernels or fewer filters, or leave the strategy out"
            )
        layer.weight.requires_grad_(False)
        if self._learning_epochs(run) == 0:
            hold_bias(run.model)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        layer = first_layer(run.model, run.facts.in_channels)
        if epoch == 0:
            filters = whitening_filters(covariance(patches_of(run, layer)), len(layer.weight), self.eps)
            with torch.no_grad():
                layer.weight.copy_(run.group.share(filters).view_as(layer.weight))
        elif epoch == self._learning_epochs(run) and layer.bias is not None:
            hold_bias(run.model)
            run.replace_model(run.model, {}, by=self.name, change={"exported": False})

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The filters are among the model's values."""

    def _learning_epochs(self, run: TrainingRun) -> int:
        return round(self.bias_until * run.epochs)

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return hold_bias(model)


def first_layer(model: nn.Module, in_channels: int) -> nn.Conv2d:
    """The convolution that reads the images; StrategyError where the first one can't be that."""
    layer = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if layer is None or layer.groups > 1 or layer.in_channels != in_channels:
        raise StrategyError(
            f"whitening: the model's first layer is no plain Conv2d over the images' {in_channels} channels; "
            "leave it out of the space"
        )
    return layer


def hold_bias(model: nn.Module) -> nn.Module:
    """The first layer's bias learns no more."""
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if layer.bias is not None:
        layer.bias.requires_grad_(False)
    return model


def patches_of(run: TrainingRun, layer: nn.Conv2d) -> Iterator[Tensor]:
    """Patches of training images as the layer meets them within the edges: (patches, values) in float64, in parts."""
    ways: dict[str, tuple[int, ...]] = {"kernel_size": layer.kernel_size, "dilation": layer.dilation}
    sides = zip(run.facts.image_size, layer.kernel_size, layer.dilation, strict=True)
    each = math.prod(max(0, side - apart * (kernel - 1)) for side, kernel, apart in sides)
    if each == 0:
        raise StrategyError(
            f"whitening: the first layer's kernels of {layer.kernel_size} are larger than the images; leave it out"
        )
    count = min(len(run.train_images), MOST_IMAGES, max(1, MOST_PATCHES // each))
    positions_n = np.random.default_rng((run.seed, 0)).permutation(len(run.train_images))[:count].astype(np.int64)
    step = max(1, CHUNK_VALUES // (each * layer.weight[0].numel()))
    for start in range(0, count, step):
        images_nchw = run.plain_batch(positions_n[start : start + step]).images_nchw
        yield F.unfold(images_nchw.double(), **ways).transpose(1, 2).flatten(0, 1)


def covariance(parts: Iterable[Tensor]) -> Tensor:
    """Of the columns of all parts together, on the CPU."""
    rows, sums, products = 0, None, None
    for part in parts:
        rows += len(part)
        sums = part.sum(0) if sums is None else sums + part.sum(0)
        products = part.T @ part if products is None else products + part.T @ part
    assert sums is not None and products is not None, "there is an image at least"
    mean = sums / rows
    return (products / rows - mean[:, None] * mean).cpu()


def whitening_filters(covariance_vv: Tensor, count: int, eps: float) -> Tensor:
    """(count, values): eigenvectors over the roots of their eigenvalues + eps, each followed by its opposite."""
    variances, vectors = torch.linalg.eigh(covariance_vv)  # in ascending order, an eigenvector a column
    directions = (vectors / (variances.clamp(min=0) + eps).sqrt()).T.flip(0)
    return torch.stack([directions, -directions], dim=1).flatten(0, 1)[:count].float()
