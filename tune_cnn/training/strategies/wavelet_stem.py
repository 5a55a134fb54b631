"""Haar sub-bands.

After Williams & Li, "Advanced Image Classification Using Wavelets and Convolutional Neural Networks", 2016.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError, first_line
from tune_cnn.spec.strategies import Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.kernels import padding_for, smaller_kernel
from tune_cnn.training.surgery.shape import eval_forward, replace_module

BANDS = 4  # approximation, and details along rows, columns and diagonals


class WaveletStem(Strategy):
    """Give the net the four half-size Haar sub-bands of an image as channels, and not its pixels.

    After Williams & Li, "Advanced Image Classification Using Wavelets and Convolutional Neural Networks", 2016, who
    train nets on sub-bands. One level of Haar's transform loses nothing: the bands are the image, turned. The first
    convolution reads four times as many channels, with kernels above 3×3 about half as large. Where it had a stride,
    that is halved, and the maps stay as large as they were; else all maps are half as large, and a step costs about a
    quarter. Evaluation sees sub-bands too: they are part of the net.
    """

    name = "wavelet_stem"
    paper = 'Williams & Li, 2016, "Advanced Image Classification Using Wavelets and Convolutional Neural Networks"'
    saves = Saves.TIME
    sites = frozenset({Site.RESOLUTION})
    capturable = True
    forbids: ClassVar[Mapping[str, str]] = {
        "whitening": "whitening sets a first layer that reads pixels, and wavelet_stem has it read sub-bands",
        "net2net": "net2net grows the first layer that the model came with, and wavelet_stem puts another in its place",
    }

    def prepare(self, run: TrainingRun) -> None:
        if run.pretrained:
            raise StrategyError("wavelet_stem: the pretrained first layer reads pixels; leave one of them out")
        with_band_stem(run.model, run.facts.in_channels)
        try:
            eval_forward(run.model, run.sample_batch().images_nchw)
        except Exception as error:  # the model may be the user's
            raise StrategyError(
                f"wavelet_stem: the model can't take maps of half the size ({first_line(error)}); leave it out"
            ) from error
        run.replace_model(run.model, {}, by=self.name, change={"in_channels": run.facts.in_channels})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return with_band_stem(model, change["in_channels"])


class HaarBands(nn.Module):
    """(n, c, h, w) to (n, 4c, ⌈h/2⌉, ⌈w/2⌉): per channel approximation, details of rows, of columns, of diagonals.

    Orthonormal: sums of squares stay. An odd last row or column is repeated.
    """

    def forward(self, images_nchw: Tensor) -> Tensor:
        height, width = images_nchw.shape[-2:]
        even = F.pad(images_nchw, (0, width % 2, 0, height % 2), mode="replicate")
        a, b = even[..., ::2, ::2], even[..., ::2, 1::2]
        c, d = even[..., 1::2, ::2], even[..., 1::2, 1::2]
        bands = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=2) / 2
        return bands.flatten(1, 2)


def with_band_stem(model: nn.Module, in_channels: int) -> nn.Module:
    """The model whose first convolution reads sub-bands, in place; drawn with the spread of the former weights."""
    name, stem = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if stem is None or not name or stem.groups > 1 or stem.in_channels != in_channels or max(stem.dilation) > 1:
        raise StrategyError(
            f"wavelet_stem: the model's first layer is no plain Conv2d over the images' {in_channels} channels; "
            "leave it out of the space"
        )
    size = smaller_kernel(stem, 0.5) or (stem.kernel_size[0], stem.kernel_size[1])
    bands = nn.Conv2d(
        BANDS * in_channels,
        stem.out_channels,
        size,
        stride=(max(1, stem.stride[0] // 2), max(1, stem.stride[1] // 2)),
        padding=padding_for(stem, size),
        bias=stem.bias is not None,
        padding_mode=stem.padding_mode,
        device=stem.weight.device,
        dtype=stem.weight.dtype,
    )
    with torch.no_grad():
        spread = stem.weight.std(correction=0) * (stem.weight[0].numel() / bands.weight[0].numel()) ** 0.5
        bands.weight.normal_().mul_(spread)
    replace_module(model, name, nn.Sequential(HaarBands(), bands).train(stem.training))
    return model
