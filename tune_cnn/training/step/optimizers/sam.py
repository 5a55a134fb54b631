"""Sharpness-aware minimisation (Foret, Kleiner, Mobahi, Neyshabur, 2021, https://arxiv.org/abs/2010.01412)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import Optimizer

from tune_cnn.training.step.statistics import statistics_kept


@contextmanager
def sharpened(model: nn.Module, optimizer: Optimizer, *, rho: float) -> Iterator[None]:
    """Within it the weights lie where the loss grows most, `rho` from their own place; afterwards at their own again.

    Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving Generalization", 2021,
    https://arxiv.org/abs/2010.01412, algorithm 1: w + rho · g / ‖g‖, of the gradients that are there, over all
    parameters that learn. The scale of an fp16 loss cancels; where it made gradients infinite, weights stay in place.
    Ranks climb together, by the gradient of the whole batch (the paper's climb each by its own): N ranks learn as one.
    Running statistics follow the first pass alone.
    """
    learning = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    with torch.no_grad():
        gradients = [p.grad for p in learning if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        factor = rho / (norm + 1e-12)  # no gradient: no climb
        usable = torch.isfinite(norm)
        kept = [p.detach().clone() for p in learning]
        steps = [torch.where(usable, gradient * factor, 0.0) for gradient in gradients]
        torch._foreach_add_(learning, steps)
    try:
        with statistics_kept(model):
            yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(learning, kept)
