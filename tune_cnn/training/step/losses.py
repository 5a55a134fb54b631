"""The loss that a step learns from: cross-entropy, or a binary cross-entropy for each class."""

import torch
from torch import Tensor
from torch.nn import functional as F


def training_loss(
    logits: Tensor, labels_n: Tensor, *, kind: str, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """In nat, over the images, or of each of them (`reduction="none"`).

    labels_n: classes, or each class's share of an image (n×k) where images are mixed.
    kind: `bce` asks of each class by itself whether the image shows it, as Wightman, Touvron, Jégou, "ResNet strikes
    back", 2021, https://arxiv.org/abs/2110.00476 train; it is the mean over the classes, for which their rates are
    meant.
    """
    if kind == "cross_entropy":
        return F.cross_entropy(logits.float(), labels_n, label_smoothing=label_smoothing, reduction=reduction)
    assert kind == "bce", kind
    classes = logits.shape[1]
    shares_nk = labels_n if labels_n.is_floating_point() else shares(labels_n, classes)
    wanted_nk = shares_nk * (1 - label_smoothing) + label_smoothing / classes
    losses_n = F.binary_cross_entropy_with_logits(logits.float(), wanted_nk, reduction="none").mean(1)
    return losses_n.mean() if reduction == "mean" else losses_n


def shares(labels_n: Tensor, classes: int) -> Tensor:
    """Each class's share of an image that is all of one: n×k, without waiting for the device."""
    zeros_nk = torch.zeros(len(labels_n), classes, device=labels_n.device)
    return zeros_nk.scatter_(1, labels_n[:, None], 1.0)
