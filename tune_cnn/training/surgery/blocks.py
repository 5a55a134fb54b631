"""Layers that can be put into a network without changing what it computes (Net2DeeperNet)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_cnn.training.surgery.shape import eval_forward

TOLERANCE = 1e-4  # of the input's own size: what batch norm and convolution round


@dataclass(frozen=True, kw_only=True)
class Insertable:
    """A layer or block, by the names of the modules that go together.

    Residual: one module, whose last layer is set to zero. Plain: a convolution set to the identity, the batch norm
    behind it, if any, and their ReLU.
    """

    names: tuple[str, ...]
    last: str = ""  # of a residual block: the layer whose zero makes it pass its input on


@dataclass(kw_only=True)
class _Calls:
    """What was called with what, in the order of the ends."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    kept_shape: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)


def insertable_blocks(model: nn.Module, images_nchw: Tensor) -> list[Insertable]:
    """The model's own layers that it could have got later, in the order of their calls.

    Tried on these images, not only recognised: made neutral, each must give its input back.
    """
    calls = _watched(model, images_nchw)
    found: list[Insertable] = []
    for name in calls.order:
        if name in calls.twice or name not in calls.kept_shape:
            continue
        block = _plain(model, name, calls) or _residual(model, name, calls)
        if block is not None:
            # A block stands for all that is in it.
            found = [one for one in found if not one.names[0].startswith(f"{name}.")]
            found.append(block)
    return found


def spread(blocks: Sequence[Insertable], share: float) -> list[Insertable]:
    """All but `share` of the blocks, those that stay evenly spread over the network: the ones to be put in later."""
    return [block for at, block in enumerate(blocks) if int((at + 1) * share + 1e-9) == int(at * share + 1e-9)]


def init_identity(model: nn.Module, block: Insertable, inputs_nchw: Tensor | None) -> None:
    """Let the block give its input back.

    inputs_nchw: of a plain layer with batch norm, what it is given: normalising takes away the spread and the mean of
    a batch, so they are put back by scale and shift.
    """
    with torch.no_grad():
        if block.last:
            _zero(model.get_submodule(block.last))
            return
        convolution, *norms, _ = (model.get_submodule(name) for name in block.names)
        assert isinstance(convolution, nn.Conv2d)
        nn.init.dirac_(convolution.weight)
        if convolution.bias is not None:
            convolution.bias.zero_()
        for norm in norms:
            assert inputs_nchw is not None and isinstance(norm, _BatchNorm)
            _pass_through(norm, inputs_nchw)


def inputs_in_training(model: nn.Module, images_nchw: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What the modules of these names are given when the model normalises by the batch; it is left as it was."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    seen: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: seen.__setitem__(name, args[0].clone())
        )
    with torch.no_grad():
        model(images_nchw)
    return seen


def _watched(model: nn.Module, images_nchw: Tensor) -> _Calls:
    calls, handles = _Calls(), []

    def watch(name: str, output: object) -> None:
        if name in calls.order:
            calls.twice.add(name)
        calls.order.append(name)
        given = calls.inputs.get(name)
        if given is not None and given.ndim == 4 and isinstance(output, Tensor) and given.shape == output.shape:
            calls.kept_shape.add(name)

    def keep(name: str, args: tuple[object, ...]) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor):
            calls.inputs[name] = args[0].clone()  # before an in-place operation within gets at it

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, args, name=name: keep(name, args)))
        handles.append(module.register_forward_hook(lambda _, __, output, name=name: watch(name, output)))
    try:
        eval_forward(model, images_nchw)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _plain(model: nn.Module, name: str, calls: _Calls) -> Insertable | None:
    """A convolution, with the batch norm behind it if any, before a ReLU, in a sequence."""
    parent, _, leaf = name.rpartition(".")
    row, layer = model.get_submodule(parent), model.get_submodule(name)
    if not isinstance(row, nn.Sequential) or not isinstance(layer, nn.Conv2d) or layer.groups != 1:
        return None
    if layer.padding_mode != "zeros" or any(side % 2 == 0 for side in layer.kernel_size):
        return None
    children = list(row.named_children())
    behind = children[[key for key, _ in children].index(leaf) + 1 :]
    normed = bool(behind) and isinstance(behind[0][1], nn.BatchNorm2d) and behind[0][1].affine
    names = [f"{parent}.{key}".lstrip(".") for key, _ in behind[: 1 + normed]]
    if len(names) <= normed or not isinstance(behind[normed][1], nn.ReLU):
        return None
    return _tried(model, Insertable(names=(name, *names)), calls)


def _residual(model: nn.Module, name: str, calls: _Calls) -> Insertable | None:
    """A module whose last layer, when it is zero, leaves the module's input alone."""
    within = {key: model.get_submodule(key) for key in calls.order if key.startswith(f"{name}.")}
    layers = [key for key, module in within.items() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    if not name or not any(isinstance(within[key], nn.Conv2d) for key in layers):
        return None
    return _tried(model, Insertable(names=(name,), last=layers[-1]), calls)


def _tried(model: nn.Module, block: Insertable, calls: _Calls) -> Insertable | None:
    """The block, if it can be made to give its input back."""
    layers = [model.get_submodule(name) for name in block.names]
    former = [copy.deepcopy(layer.state_dict()) for layer in layers]
    inputs_nchw = calls.inputs[block.names[0]]
    init_identity(model, block, inputs_nchw)
    output = eval_forward(nn.Sequential(*layers), inputs_nchw.clone())
    for layer, state in zip(layers, former, strict=True):
        layer.load_state_dict(state)
    return block if (output - inputs_nchw).abs().max() <= TOLERANCE * inputs_nchw.abs().max() else None


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()


def _pass_through(norm: _BatchNorm, inputs_nchw: Tensor) -> None:
    """Scale and shift by the batch's own spread and mean, and take these for the running statistics."""
    variance, mean = torch.var_mean(inputs_nchw, dim=(0, 2, 3), correction=0)
    assert norm.affine, "a norm without scale and shift can't be neutral"
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
