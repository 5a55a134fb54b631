"""Layers whose gradient has no deterministic form on a GPU: where it must have one, torch raises in the backward."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tune_cnn.untyped import Untyped

# From torch.use_deterministic_algorithms' own list: aten's operation, and the layer that it comes of. What torch puts
# together from other operations there (upsampling, replication padding) is not among them.
REFUSED = {
    "_adaptive_avg_pool2d_backward": "AdaptiveAvgPool2d to more than 1×1",
    "_adaptive_avg_pool3d_backward": "AdaptiveAvgPool3d to more than 1×1×1",
    "adaptive_max_pool2d_backward": "AdaptiveMaxPool2d",
    "avg_pool3d_backward": "AvgPool3d",
    "fractional_max_pool2d_backward": "FractionalMaxPool2d",
    "fractional_max_pool3d_backward": "FractionalMaxPool3d",
    "grid_sampler_2d_backward": "grid_sample",
    "grid_sampler_3d_backward": "grid_sample",
    "max_unpool2d": "MaxUnpool2d",
    "max_unpool3d": "MaxUnpool3d",
    "reflection_pad1d_backward": "reflection padding",
    "reflection_pad2d_backward": "reflection padding",
    "reflection_pad3d_backward": "reflection padding",
}


class _Watched(TorchDispatchMode):
    """Notes the operations that are called within it, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own has no types
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Untyped, types: object, args: tuple[Untyped, ...] = (), kwargs: Mapping[str, Untyped] | None = None
    ) -> Untyped:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def without_determinism(model: nn.Module, *, in_channels: int, image_size: tuple[int, int]) -> list[str]:
    """The layers of a model, which can be trained on such images, that torch would refuse; leaves gradients behind."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    images_nchw = torch.zeros(2, in_channels, *image_size, device=device)
    with _Watched() as watched:
        model.train()(images_nchw).sum().backward()
    return sorted({layer for name, layer in REFUSED.items() if name in watched.names})
