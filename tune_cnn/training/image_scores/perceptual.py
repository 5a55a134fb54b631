"""Perceptual distance: how far the features of a network lie apart (Zhang, Isola, Efros, Shechtman & Wang, "The
unreasonable effectiveness of deep features as a perceptual metric", 2018, https://arxiv.org/abs/1801.03924).

The plain form of LPIPS: features of unit length by channel, squared differences, the mean over places, the sum over
layers, every channel weighing the same (the learned weights of channels are not in torchvision).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from tune_cnn.training.models.pretrained import fetch_weights, find_weights
from tune_cnn.training.models.torchvision_models import torchvision_names

__all__ = ["backbone", "distances", "features", "torchvision_names"]

SMALLEST_SIDE = 64  # AlexNet sees nothing smaller
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM_SEED = 0  # of an untrained backbone: the same features in every trial


def backbone(name: str, *, pretrained: bool) -> nn.Module:
    """A torchvision network to take features from, in evaluation mode.

    ModelError where its weights are neither here nor to be had.
    """
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            drawn: nn.Module = models.get_model(name, weights=None)
            return drawn.eval()
    path = fetch_weights(name, find_weights(name, "DEFAULT"))
    network: nn.Module = models.get_model(name, weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


@torch.inference_mode()
def distances(network: nn.Module, images_nchw: Tensor, to_chw: Tensor) -> Tensor:
    """(n, 1) the distance of each image, of values from 0 to 255, to one of the same size."""
    to = features(network, to_chw[None])
    total_n = torch.zeros(len(images_nchw), dtype=torch.float64, device=images_nchw.device)
    for layer, of_one in zip(features(network, images_nchw), to, strict=True):
        squared_nhw = (_unit(layer) - _unit(of_one)).square().sum(dim=1)
        total_n += squared_nhw.mean(dim=(1, 2)).to(torch.float64)
    return total_n[:, None]


def features(network: nn.Module, images_nchw: Tensor) -> list[Tensor]:
    """The last activations at every size that maps of more than one pixel have on their way through the network.

    One layer for each size does for any backbone, whatever its blocks are called. What an adaptive pooling gives is
    left out: it makes all images one size at the end.
    """
    found: dict[tuple[int, ...], Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            found[tuple(output.shape[2:])] = output

    leaves = [m for m in network.modules() if not list(m.children()) and not isinstance(m, nn.AdaptiveAvgPool2d)]
    hooks = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        network(_as_imagenet(images_nchw))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _as_imagenet(images_nchw: Tensor) -> Tensor:
    """Three channels, at least 64 pixels a side, normalised as torchvision's weights want it."""
    scaled = images_nchw.to(torch.float32) / 255
    if scaled.shape[1] != 3:
        scaled = scaled.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    smallest = min(scaled.shape[2:])
    if smallest < SMALLEST_SIDE:
        size = [round(side * SMALLEST_SIDE / smallest) for side in scaled.shape[2:]]
        scaled = F.interpolate(scaled, size=size, mode="bilinear", antialias=True)
    mean, std = (scaled.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (scaled - mean) / std


def _unit(features_nchw: Tensor) -> Tensor:
    return features_nchw / (features_nchw.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
