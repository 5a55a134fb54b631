"""The stages of a network: its children in the order in which images come to them, and the head behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.untyped import Untyped

FEWEST = 3  # stages of a backbone, where its children have children: fewer say little of early and late


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Modules of a model by name that stand behind one another, each with parameters."""

    modules: tuple[str, ...]

    def __str__(self) -> str:
        return "+".join(self.modules)

    def parameters(self, model: nn.Module) -> list[str]:
        """Names of all parameters in it."""
        inside = tuple(f"{name}." for name in self.modules)
        return [name for name, _ in model.named_parameters() if name.startswith(inside)]


def stages_of(model: nn.Module, images_nchw: Tensor) -> list[Stage]:
    """The backbone's stages from the images on, and the head as the last one; ModelError where there aren't two.

    The stages are the model's own children with parameters (torchvision's ResNet: conv1 with bn1, layer1 to layer4,
    fc). While the backbone has fewer than three, the largest child that has children is taken apart (`features`,
    `trunk_output`, `encoder`). What holds vectors alone, as a norm does, belongs to the stage before it; parameters
    that belong to no child, as a class token, to the first.
    """
    calls = _first_calls(model, images_nchw)
    names = _children(model, "")
    while len(stages := _grouped(model, names, calls)) <= FEWEST:
        before_head = [name for stage in stages[:-1] or stages for name in stage]
        inside = [name for name in before_head if _children(model, name)]
        if not inside:
            break
        largest = max(inside, key=lambda name: _size(model.get_submodule(name)))
        names[names.index(largest) : names.index(largest) + 1] = _children(model, largest)
    if len(stages) < 2:
        raise ModelError(
            "it has no stages: fine-tuning needs children with weights of their own, a backbone's and a head behind "
            f"them, and {type(model).__name__} has {', '.join(names) or 'none'}; build it of modules, or leave "
            "frozen_stages, head_epochs, layer_decay and backbone_lr_ratio out"
        )
    return [Stage(modules=tuple(modules)) for modules in stages]


def _grouped(model: nn.Module, names: list[str], calls: dict[str, int]) -> list[list[str]]:
    """In the order of their calls, each that holds vectors alone beside the one before it."""
    stages: list[list[str]] = []
    for name in sorted(names, key=lambda name: calls.get(name, _first_inside(name, calls))):
        if stages and not _has_matrix(model.get_submodule(name)):
            stages[-1].append(name)
        else:
            stages.append([name])
    return stages


def _children(model: nn.Module, name: str) -> list[str]:
    """Names of the children of that module that have parameters."""
    module = model.get_submodule(name)
    prefix = f"{name}." if name else ""
    return [f"{prefix}{child}" for child, of in module.named_children() if any(True for _ in of.parameters())]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _first_inside(name: str, calls: dict[str, int]) -> int:
    """When a module's first part was called, as lists of modules are never called themselves; -1: nothing of it was."""
    return min((at for called, at in calls.items() if called.startswith(f"{name}.")), default=-1)


def _first_calls(model: nn.Module, images_nchw: Tensor) -> dict[str, int]:
    """The order in which modules are first called in a forward pass, by name. The model is left as it was."""
    order: dict[str, int] = {}

    def noting(name: str) -> Callable[[Untyped, Untyped], None]:
        def note(_module: Untyped, _given: Untyped) -> None:
            order.setdefault(name, len(order))

        return note

    hooks = [module.register_forward_pre_hook(noting(name)) for name, module in model.named_modules() if name]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(images_nchw)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return order
