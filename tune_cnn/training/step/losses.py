"""The loss that a step learns from: cross-entropy, or a binary cross-entropy for each class."""

import torch
from torch import Tensor
from torch.nn import functional as F


def training_loss(
    logits: Tensor,
    labels_n: Tensor,
    *,
    kind: str,
    label_smoothing: float = 0.0,
    class_weights_k: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """In nat, over the images, or of each of them (`reduction="none"`).

    labels_n: classes, or each class's share of an image (n×k) where images are mixed.
    class_weights_k: what each class counts for. With cross-entropy a weight multiplies its class's term, as torch has
    it; with bce the whole loss of an image by its classes, as Cui et al. (training/data/class_balance.py) have it. The
    mean divides by the images and not, as torch's, by their weights: then micro-batches and ranks, whatever classes
    meet in them, add up to the whole batch's.
    kind: `bce` asks of each class by itself whether the image shows it, as Wightman, Touvron, Jégou, "ResNet strikes
    back", 2021, https://arxiv.org/abs/2110.00476 train; it is the mean over the classes, for which their rates are
    meant.
    """
    if kind == "cross_entropy":
        weighed = reduction if class_weights_k is None else "none"
        losses = F.cross_entropy(
            logits.float(), labels_n, weight=class_weights_k, label_smoothing=label_smoothing, reduction=weighed
        )
        return losses.mean() if reduction == "mean" else losses
    assert kind == "bce", kind
    classes = logits.shape[1]
    shares_nk = labels_n if labels_n.is_floating_point() else shares(labels_n, classes)
    wanted_nk = shares_nk * (1 - label_smoothing) + label_smoothing / classes
    losses_n = F.binary_cross_entropy_with_logits(logits.float(), wanted_nk, reduction="none").mean(1)
    if class_weights_k is not None:
        losses_n = losses_n * (shares_nk @ class_weights_k)
    return losses_n.mean() if reduction == "mean" else losses_n


def shares(labels_n: Tensor, classes: int) -> Tensor:
    """Each class's share of an image that is all of one: n×k, without waiting for the device."""
    zeros_nk = torch.zeros(len(labels_n), classes, device=labels_n.device)
    return zeros_nk.scatter_(1, labels_n[:, None], 1.0)
