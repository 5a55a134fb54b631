"""Wavelet pooling (Williams & Li, "Wavelet Pooling for Convolutional Neural Networks", 2018)."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.spec.strategies import Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.shape import replace_module

HALF = 2  # a wavelet's level halves a map; other poolings have no counterpart


class WaveletPooling(Strategy):
    """Halve maps by leaving out the finest details of their Haar transform, where max pooling keeps the largest values.

    Williams & Li, "Wavelet Pooling for Convolutional Neural Networks", ICLR 2018. A map is transformed over two levels,
    the first level's details are dropped, and the rest is transformed back: what is left is the first level's
    approximation, which for Haar's wavelet is twice the average over 2×2 (a test holds this identity, and the layer
    computes it so). It takes the place of every 2×2 max pooling with stride 2.
    """

    name = "wavelet_pooling"
    paper = 'Williams & Li, 2018, "Wavelet Pooling for Convolutional Neural Networks"'
    saves = Saves.DATA
    sites: ClassVar[frozenset[Site]] = frozenset({Site.POOL})
    capturable = True

    def prepare(self, run: TrainingRun) -> None:
        model, count = with_wavelet_pools(run.model)
        if not count:
            raise StrategyError(
                "wavelet_pooling: the model has no MaxPool2d of 2×2 with stride 2; leave it out of the space"
            )
        run.replace_model(model, {}, by=self.name, change={"pools": count})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return with_wavelet_pools(model)[0]


class HaarPool2d(nn.Module):
    """The approximation of a map's Haar transform: half the size, an odd last row or column dropped."""

    def forward(self, images_nchw: Tensor) -> Tensor:
        return HALF * F.avg_pool2d(images_nchw, HALF)


def with_wavelet_pools(model: nn.Module) -> tuple[nn.Module, int]:
    """The model with them in the place of max pooling that halves, and how many there are."""
    pools = [name for name, module in model.named_modules() if type(module) is nn.MaxPool2d and _halves(module)]
    for name in pools:
        if not name:
            return HaarPool2d(), 1
        replace_module(model, name, HaarPool2d())
    return model, len(pools)


def _halves(pool: nn.MaxPool2d) -> bool:
    twos = (HALF, [HALF, HALF], (HALF, HALF))
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1)) and not pool.ceil_mode
    return plain and pool.kernel_size in twos and pool.stride in twos
