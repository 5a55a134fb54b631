"""Muon for convolutional networks (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim import Muon as MatrixMuon

from tune_cnn.errors import TrialError
from tune_cnn.training.step.optimizers.groups import Group, norm_parameters
from tune_cnn.untyped import Untyped


class Muon(Optimizer):
    """torch's Muon for the groups marked `muon`, torch's AdamW for the others, under one learning rate.

    Muon makes each update of a weight matrix orthogonal. torch's takes two dimensions: a convolution is a matrix of its
    filters, one a row. Its update is scaled to the size of an AdamW step (`match_rms_adamw`; Liu et al., "Muon is
    Scalable for LLM Training", 2025, https://arxiv.org/abs/2502.16982), so that one rate suits both: AdamW's.
    """

    def __init__(self, groups: list[Group], *, lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"lr": lr})
        self._muon: dict[str, Untyped] = {
            "momentum": momentum,
            "nesterov": nesterov and momentum > 0,
            "adjust_lr_fn": "match_rms_adamw",
        }

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # nobody has one here
        """Take up gradients. What each rule remembers stands in `state`, by the model's own parameters."""
        assert closure is None
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if learning:
                (self._orthogonal if group["muon"] else self._adaptive)(group, learning)

    def _orthogonal(self, group: Group, learning: list[nn.Parameter]) -> None:
        of_matrix: dict[nn.Parameter, nn.Parameter] = {}
        for parameter in learning:
            matrix = nn.Parameter(as_matrix(parameter.detach(), like=parameter), requires_grad=False)
            assert parameter.grad is not None
            matrix.grad = as_matrix(parameter.grad, like=parameter)
            of_matrix[matrix] = parameter
        own = MatrixMuon(list(of_matrix), lr=group["lr"], weight_decay=group["weight_decay"], **self._muon)
        for matrix, parameter in of_matrix.items():
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            own.state[matrix]["momentum_buffer"] = as_matrix(self.state[parameter]["momentum_buffer"], like=parameter)
        own.step()

    def _adaptive(self, group: Group, learning: list[nn.Parameter]) -> None:
        own = AdamW(learning, lr=group["lr"], weight_decay=group["weight_decay"], foreach=True)
        for parameter in learning:
            own.state[parameter] = self.state[parameter]  # one and the same, made in the first step
        own.step()


def as_matrix(kernel: Tensor, *, like: Tensor) -> Tensor:
    """A row for each filter, on the kernel's own memory where it lies as `like` does.

    The order of the columns means nothing to Muon, but it must be one for a weight, its gradient and its momentum.
    """
    if like.ndim == 4 and not like.is_contiguous():  # channels_last
        kernel = kernel.permute(0, 2, 3, 1)
    return kernel.flatten(1)


def muon_groups(model: nn.Module, groups: list[Group]) -> list[Group]:
    """The groups in two, the first for Muon: all weight matrices but the model's first and last and grouped kernels.

    Convolutions and linear layers, in the order in which the model has them. The first sees pixels and the last gives
    classes, which the authors leave to AdamW, as norms, biases and all other vectors; grouped convolutions, depthwise
    ones among them, are many small matrices rather than one.
    """
    hidden = {id(p) for p in hidden_matrices(model)}
    if not hidden:
        raise TrialError(
            "optimizer muon: the model has no hidden weight matrix that learns, between its first and its last layer; "
            "choose another optimizer"
        )
    parted: list[Group] = []
    for group in groups:
        for muon in (True, False):
            of = [p for p in group["params"] if (id(p) in hidden) is muon]
            parted += [{**group, "params": of, "muon": muon}] if of else []
    return parted


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights that Muon is for, as far as they learn."""
    norms = norm_parameters(model)
    grouped = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in norms]
    return [p for p in matrices[1:-1] if p.requires_grad and id(p) not in grouped]
