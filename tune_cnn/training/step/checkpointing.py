"""Activations that are computed again in the backward pass (Chen et al., 2016, https://arxiv.org/abs/1604.06174)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from tune_cnn.errors import TrialError
from tune_cnn.untyped import Untyped


class Checkpointed(nn.Module):
    """A model whose parts keep what came to them and nothing within, and run again where gradients are wanted.

    Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174.
    The gradients are the same: what a part draws at random is drawn again, and running statistics follow its first run
    alone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not parts_of(model):
            raise TrialError(
                f"activation_checkpointing: {type(model).__name__} has no blocks, modules made of layers, that could "
                "be run again; leave it out, or build the model of blocks"
            )
        self.model = model

    def forward(self, images_nchw: Tensor) -> Tensor:
        wanted = self.training and torch.is_grad_enabled()
        with _recomputing(parts_of(self.model) if wanted else []):
            return self.model(images_nchw)  # type: ignore[no-any-return]  # a module's call has no type


def parts_of(model: nn.Module) -> list[nn.Module]:
    """What is run again as a whole: a network's blocks. Sequences of blocks are looked into, and so is an only child;
    a sequence of plain layers is one block."""
    parts: list[nn.Module] = []
    children = [child for child in model.children() if _learns(child)]
    for child in children:
        inner = [of for of in child.children() if _learns(of)]
        if not inner:
            continue
        nested = any(list(of.children()) for of in inner)
        sequence = isinstance(child, nn.Sequential | nn.ModuleList) or len(children) == 1
        parts += parts_of(child) if nested and sequence else [child]
    return parts


def _learns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


@contextmanager
def _recomputing(parts: list[nn.Module]) -> Iterator[None]:
    """Within it these modules' forward passes keep their inputs alone."""
    for part in parts:
        part.forward = partial(_again, part, type(part).forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


@contextmanager
def _following_nothing(part: nn.Module) -> Iterator[None]:
    """Within it running statistics move by nothing, and the same tensors are saved as when they do."""
    following = [(m, m.momentum, m.num_batches_tracked) for m in part.modules() if isinstance(m, _NormBase)]
    for module, _, _ in following:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for module, momentum, count in following:
            module.momentum, module.num_batches_tracked = momentum, count


def _again(part: nn.Module, forward: Untyped, *given: Untyped, **named: Untyped) -> Untyped:
    # A list may grow behind the block's back: torchvision's DenseNet hands the same one on to every layer.
    given = tuple(list(one) if isinstance(one, list) else one for one in given)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _following_nothing(part)

    return checkpoint(partial(forward, part), *given, use_reentrant=False, context_fn=contexts, **named)
