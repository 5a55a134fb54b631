"""A model's structure as plain data: how to write down what surgery has changed, and how to do it again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tune_cnn.errors import StrategyError, first_line
from tune_cnn.training.surgery.empty import EmptyMaps
from tune_cnn.untyped import Plain, Untyped

Sizes = dict[str, list[int]]
"""The sizes of parameters and buffers, by name."""


class Placeholder(nn.Module):
    """Keeps the place of a layer that the model hasn't got yet; gives on what it is given.

    The layer waits outside the model: its parameters are neither trained nor stored.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._waiting = [layer]  # in a list, or it would be a child

    @property
    def layer(self) -> nn.Module:
        return self._waiting[0]

    def forward(self, images_nchw: Tensor) -> Tensor:
        return images_nchw


def sizes(model: nn.Module) -> Sizes:
    return {name: list(tensor.shape) for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def resized(before: Sizes, after: Sizes) -> Sizes:
    """What differs."""
    return {name: size for name, size in after.items() if before.get(name) != size}


def rebuild_shape(model: nn.Module, change: Mapping[str, Plain]) -> nn.Module:
    """Do a recorded change of structure to the model, in place; what is resized holds no values yet.

    change: any of `absent` and `present` (names of layers taken out and put back), `empty` (names of convolutions left
    without weights: the number of their maps), `passed` (names of norms taken out for good) and `sizes`.
    """
    for name in change.get("absent", ()):
        take_out(model, name)
    for name in change.get("present", ()):
        put_back(model, name)
    for name, maps in change.get("empty", {}).items():
        empty(model, name, maps)
    for name in change.get("passed", ()):
        replace_module(model, name, nn.Identity())
    tensors = dict((*model.named_parameters(), *model.named_buffers()))
    for name, size in change.get("sizes", {}).items():
        old = tensors[name].detach()
        put_tensor(model, name, torch.zeros(size, dtype=old.dtype, device=old.device))
    settle(model)
    return model


def take_out(model: nn.Module, name: str) -> None:
    replace_module(model, name, Placeholder(model.get_submodule(name)))


def put_back(model: nn.Module, name: str) -> nn.Module:
    """The layer, in its place again and where the rest of the model is."""
    placeholder = model.get_submodule(name)
    assert isinstance(placeholder, Placeholder), name
    layer = placeholder.layer.train(placeholder.training)
    like = next(model.parameters())
    replace_module(model, name, layer.to(like.device))
    return layer


def empty(model: nn.Module, name: str, maps: int) -> None:
    convolution = model.get_submodule(name)
    assert isinstance(convolution, nn.Conv2d), name
    replace_module(model, name, EmptyMaps(convolution, maps).train(convolution.training))


def replace_module(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)


def put_tensor(model: nn.Module, name: str, new: Tensor) -> Tensor:
    """Put a tensor of other sizes in the place of a parameter or buffer, wherever the model holds it."""
    owner, _, leaf = name.rpartition(".")
    old = getattr(model.get_submodule(owner), leaf)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    for module in model.modules():
        held: Untyped
        for held in (module._parameters, module._buffers):
            for key, tensor in held.items():
                if tensor is old:
                    held[key] = new
    return new


def settle(model: nn.Module) -> None:
    """Let every layer know its widths by its tensors: they are printed, exported, and used by depthwise layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            made, read = module.weight.shape[:2]
            if module.groups > 1 and made != module.out_channels:
                module.groups = made  # depthwise: no other grouped convolution is ever changed
            module.out_channels, module.in_channels = made, read * module.groups
            module.kernel_size = tuple(module.weight.shape[2:])
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, _NormBase):
            vectors = [v for v in (module.weight, module.running_mean) if v is not None]
            module.num_features = len(vectors[0]) if vectors else module.num_features
        elif isinstance(module, nn.PReLU):
            module.num_parameters = module.weight.numel()


def eval_forward(model: nn.Module, images_nchw: Tensor) -> Tensor:
    """The model's output in evaluation mode, without gradients; the model is left as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            output: Tensor = model(images_nchw)
            return output
    finally:
        for module, training in modes.items():
            module.training = training


def check_eval_forward(model: nn.Module, images_nchw: Tensor, *, doing: str) -> Tensor:
    """`eval_forward`, or a StrategyError: a width that is written into the model's code can't be changed."""
    try:
        return eval_forward(model, images_nchw)
    except Exception as error:  # the model may be the user's
        raise StrategyError(
            f"{doing}: the model's forward can't take other widths ({first_line(error)}); let "
            "it read them from its tensors' shapes, as in x.flatten(1) for x.view(-1, 400), or leave the strategy out"
        ) from error
