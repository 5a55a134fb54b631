"""Standardization loss (Collins, Ballé, Shlens, 2019, https://arxiv.org/abs/1903.00925), no norms."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.shape import replace_module
from tune_cnn.untyped import Untyped

SMALLEST_VARIANCE = 1e-5  # of a channel: its logarithm must stay finite


class StandardizationLoss(Strategy):
    """Take batch normalisation out, and ask for standard activations by a term of the loss.

    Collins, Ballé, Shlens, "Accelerating Training of Deep Neural Networks with a Standardization Loss", 2019,
    https://arxiv.org/abs/1903.00925. To the training loss comes `strength` times the sum over the former norms of the
    mean over channels of ½(μ² + σ² − log σ² − 1), the divergence of a normal distribution with the channel's mean and
    variance in this batch from the standard one. There is nothing to keep up in evaluation: no image's answer depends
    on others, and no running statistics are needed. Each norm's own scale and shift per channel stay, as they cost
    nothing; that is our reading.
    """

    name = "standardization_loss"
    paper = "Collins, Ballé & Shlens, 2019, https://arxiv.org/abs/1903.00925"
    saves = Saves.TIME
    sites = frozenset({Site.NORM})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "strength": Knob(
            allowed=Range(low=1e-5, high=10.0, log=True), default=0.01, meaning="of the term in the training loss"
        )
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "prunetrain": "prunetrain follows channels through layers that are known, which no norm's stand-in is",
        "net2net": "net2net follows channels through layers that are known, which no norm's stand-in is",
        "stochastic_depth": "stochastic_depth scales the norm at a branch's end, which standardization_loss takes out",
    }

    strength: float

    def prepare(self, run: TrainingRun) -> None:
        if run.pretrained:
            raise StrategyError(
                "standardization_loss: the pretrained weights need their normalisation; leave one of them out"
            )
        if not without_norms(run.model):
            raise StrategyError("standardization_loss: the model has no batch normalisation; leave it out of the space")
        run.replace_model(run.model, {}, by=self.name, change={"norms": "out"})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        without_norms(model)
        return model

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        terms = [term for module in run.model.modules() if isinstance(module, ChannelAffine) for term in module.take()]
        return self.strength * torch.stack(terms).sum() if terms else None


class ChannelAffine(nn.Module):
    """A batch normalisation's scale and shift without the normalisation; in training it tells how far it is missed."""

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        channels, like = norm.num_features, norm.running_mean
        self.weight = norm.weight if norm.affine else nn.Parameter(torch.ones(channels, device=_device(like)))
        self.bias = norm.bias if norm.affine else nn.Parameter(torch.zeros(channels, device=_device(like)))
        self._terms: list[Tensor] = []  # of the passes since they were taken

    def take(self) -> list[Tensor]:
        """The terms of the last training pass; a layer that is used twice has two."""
        terms, self._terms = self._terms, []
        return terms

    def __getstate__(self) -> dict[str, Untyped]:
        """Terms belong to a step's graph, which a copy of the layer has no part in."""
        return {**self.__dict__, "_terms": []}

    def forward(self, input: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self._terms.append(divergence(input))
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        return input * self.weight.view(shape) + self.bias.view(shape)


def divergence(activations: Tensor) -> Tensor:
    """Mean over channels (axis 1) of KL(N(μ, σ²) ‖ N(0, 1)) = ½(μ² + σ² − log σ² − 1), in float32."""
    over = [axis for axis in range(activations.ndim) if axis != 1]
    variance, mean = torch.var_mean(activations.float(), dim=over, correction=0)
    variance = variance + SMALLEST_VARIANCE
    return (0.5 * (mean.square() + variance - variance.log() - 1)).mean()


def without_norms(model: nn.Module) -> int:
    """Put a channel's scale and shift in the place of every batch normalisation; how many there were."""
    norms = [(name, module) for name, module in model.named_modules() if name and isinstance(module, _BatchNorm)]
    for name, norm in norms:
        replace_module(model, name, ChannelAffine(norm).train(norm.training))
    return len(norms)


def _device(like: Tensor | None) -> torch.device:
    return like.device if like is not None else torch.device("cpu")
