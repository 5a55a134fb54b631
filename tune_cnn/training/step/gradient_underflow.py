"""How many gradients half precision loses: those that are zero in it, yet not in float32."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.training.step.precision import PRECISIONS, Precision

IMAGES = 32  # fewer than a batch, so the float32 pass stays below training's own peak of memory; enough for a share


def gradient_underflow_pct(
    model: nn.Module,
    images_nchw: Tensor,
    labels_n: Tensor,
    *,
    precision: Precision,
    loss_scale: float,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> float:
    """Per cent of the gradient's elements, of those not zero in float32, that are zero in `precision` at this scale.

    Counting zeros alone would blame the precision for every dead unit. So up to 32 images go through the same weights
    twice, with autocast and without, and only what the second pass finds is counted. The model is in evaluation mode
    meanwhile: nothing is drawn, running statistics stay as they are, no gradient is kept and no rank is waited for.
    Takes a few milliseconds; meant for once an epoch, off the training clock.
    """
    was_training = model.training
    model.eval()
    images_nchw, labels_n = images_nchw[:IMAGES], labels_n[:IMAGES]
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        half = _gradients(model, images_nchw, labels_n, parameters, precision, loss_scale, loss_of)
        exact = _gradients(model, images_nchw, labels_n, parameters, PRECISIONS["fp32"], 1.0, loss_of)
    finally:
        model.train(was_training)
    alive = torch.stack([(e != 0).sum() for e in exact]).sum()
    lost = torch.stack([((e != 0) & (h == 0)).sum() for e, h in zip(exact, half, strict=True)]).sum()
    return 100.0 * lost.item() / max(1, int(alive.item()))


def _gradients(
    model: nn.Module,
    images_nchw: Tensor,
    labels_n: Tensor,
    parameters: list[nn.Parameter],
    precision: Precision,
    loss_scale: float,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    with precision.autocast(images_nchw.device):
        logits = model(images_nchw)
    loss = loss_of(logits.float(), labels_n) * loss_scale
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
