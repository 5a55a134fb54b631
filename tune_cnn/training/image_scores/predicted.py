"""What a net makes of an image: its loss, and how unsure it is (Shannon's entropy of the classes that it predicts)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def losses(logits_nk: Tensor, labels_n: Tensor) -> Tensor:
    """(n, 1) the cross-entropy of each image in nat."""
    return F.cross_entropy(logits_nk.double(), labels_n, reduction="none")[:, None]


def prediction_entropy(logits_nk: Tensor) -> Tensor:
    """(n, 1) from 0 nat, where a net is sure of one class, to log(classes), where it takes all for as likely."""
    logs_nk = F.log_softmax(logits_nk.double(), dim=1)
    entropy_n1: Tensor = torch.special.entr(logs_nk.exp()).sum(dim=1, keepdim=True)
    return entropy_n1
