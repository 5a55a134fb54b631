"""torchvision's classification networks, fitted to other input channels, classes and image sizes."""

import inspect
import math
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torchvision import models

from tune_cnn.errors import ModelError
from tune_cnn.training.models.pretrained import fetch_weights, find_weights
from tune_cnn.untyped import Plain, Untyped

_OURS_TO_SET = frozenset({"num_classes", "image_size", "input_size", "init_weights", "aux_logits", "transform_input"})


@cache
def torchvision_names() -> tuple[str, ...]:
    """Every classification network that torchvision knows by name."""
    return tuple(models.list_models(module=models))


def _network_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """The signature of the class behind a builder: its own is (weights, progress, **kwargs) for all of them."""
    network = inspect.signature(models.get_model_builder(name)).return_annotation
    return inspect.signature(network).parameters


def _accepted(name: str) -> list[inspect.Parameter]:
    """The plain numbers and flags of a network that a user may set: the builder sets those without a default."""
    return [
        inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=p.default, annotation=p.annotation)
        if p.default is not inspect.Parameter.empty
        else inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=p.annotation)
        for p in _network_parameters(name).values()
        if p.annotation in (int, float, bool)
        and p.name not in _OURS_TO_SET
        and (p.default is not inspect.Parameter.empty or p.name == "dropout")  # EfficientNet's builders pop this one
    ]


def _replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)


def fit_filters(filters_oikk: Tensor, in_channels: int, *, pretrained: bool) -> Tensor:
    """First-layer filters for another number of input channels, such that the layer's output keeps its scale.

    Pretrained: summed for one channel (the same answer to a grey image), else repeated in turn and scaled down.
    Otherwise drawn anew, normal, with the spread of the old ones corrected for the number of channels.
    """
    old = filters_oikk.shape[1]
    if not pretrained:
        fresh = torch.randn_like(filters_oikk[:, :1].expand(-1, in_channels, -1, -1))
        return fresh * filters_oikk.std() * math.pow(old / in_channels, 0.5)
    if in_channels == 1:
        return filters_oikk.sum(dim=1, keepdim=True)
    in_turn = torch.arange(in_channels, device=filters_oikk.device) % old
    return filters_oikk[:, in_turn] * (old / in_channels)


def fit_channels(model: nn.Module, in_channels: int, *, pretrained: bool) -> None:
    """Replace the first convolution by one that takes `in_channels`."""
    path, stem = next((path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if stem.in_channels == in_channels:
        return
    fitted = nn.Conv2d(
        in_channels,
        stem.out_channels,
        _pair(stem.kernel_size),
        _pair(stem.stride),
        stem.padding if isinstance(stem.padding, str) else _pair(stem.padding),
        _pair(stem.dilation),
        bias=stem.bias is not None,
        device=stem.weight.device,
    )
    with torch.no_grad():
        fitted.weight.copy_(fit_filters(stem.weight, in_channels, pretrained=pretrained))
        if fitted.bias is not None and stem.bias is not None:
            fitted.bias.copy_(stem.bias)
    _replace(model, path, fitted)
    if getattr(model, "transform_input", False):  # GoogLeNet's and Inception's recolouring of three channels
        model.transform_input = False  # type: ignore[assignment]  # torch's stub knows modules and tensors alone


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    """torch declares a convolution's sizes as a tuple of any length."""
    height, width = size
    return height, width


def fit_head(model: nn.Module, num_classes: int) -> None:
    """Replace the last layer (linear, or SqueezeNet's convolution) by a fresh one, if it has other classes."""
    path, head = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(head, nn.Linear):
        if head.out_features != num_classes:
            _replace(model, path, nn.Linear(head.in_features, num_classes))
    elif head.out_channels != num_classes:
        _replace(model, path, nn.Conv2d(head.in_channels, num_classes, kernel_size=1))


class TorchvisionModel:
    """A torchvision network as a factory of our form, its `weights` beside the arguments.

    With weights, a head of the same number of classes as the weights' is kept, any other one starts afresh.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        given = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
            for key in ("num_classes", "in_channels", "image_size")
        ]
        self.__signature__ = inspect.Signature([*given, *_accepted(name)])

    def __call__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        weights: str | None = None,
        **arguments: object,
    ) -> nn.Module:
        member = find_weights(self.name, weights) if weights is not None else None
        settings = arguments | self._size_settings(image_size, member)
        network = _network_parameters(self.name)
        if "aux_logits" in network:  # GoogLeNet, Inception: the loop expects one tensor, not three
            settings["aux_logits"] = False
        if member is None:
            if "init_weights" in network:
                settings["init_weights"] = True
            settings["num_classes"] = num_classes
        else:
            fetch_weights(self.name, member)
        model: nn.Module = models.get_model(self.name, weights=member, progress=False, **settings)
        fit_head(model, num_classes)
        fit_channels(model, in_channels, pretrained=member is not None)
        return model

    def _size_settings(self, image_size: tuple[int, int], member: Untyped) -> dict[str, Plain]:
        """What the few networks that are built for one image size must be told of it."""
        network = _network_parameters(self.name)
        if "image_size" not in network and "input_size" not in network:
            return {}
        height, width = image_size
        if member is not None and tuple(member.meta["min_size"]) != tuple(image_size):
            own_height, own_width = member.meta["min_size"]
            raise ModelError(
                f"weights {member.name} are for images of {own_height}×{own_width} only, got {height}×{width}; "
                f"resize the images to {own_height}×{own_width}, choose other weights, or a model that takes any size"
            )
        if "input_size" in network:
            return {"input_size": (height, width)}
        if height != width:
            raise ModelError(f"images must be square, got {height}×{width}; resize them, or choose another model")
        return {"image_size": height}
