"""Fine-tuning: which stages of a network learn, from when on, and at which share of the learning rate."""

import logging
from types import MethodType

import torch
from torch import nn

from tune_cnn.errors import ModelError, TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.models.stages import Stage, stages_of
from tune_cnn.training.step.context import TrialContext

_log = logging.getLogger(__name__)


class FineTuning:
    """What a configuration lets learn of a model, whose last stage is its head; false where all learns alike."""

    def __init__(self, configuration: Configuration, stages: list[Stage]) -> None:
        backbone = max(0, len(stages) - 1)
        if configuration.frozen_stages > backbone:
            raise TrialError(
                f"frozen_stages: the model has {backbone} stages before its head ({_told(stages[:-1])}), got "
                f"{configuration.frozen_stages}; freeze {backbone} at most"
            )
        self._configuration, self._stages = configuration, stages
        self._head_only = configuration.head_epochs > 0
        self._resting: list[str] = []  # parameters that would learn, but for us

    @classmethod
    def of(cls, model: nn.Module, context: TrialContext) -> "FineTuning":
        """Of a model that has not begun to learn: what doesn't learn rests from here on.

        The rates' shares stand in `context.rate_ratios` afterwards.
        """
        configuration = context.job.configuration
        if not configuration.fine_tunes:
            return cls(configuration, [])
        facts = context.images.facts
        images_nchw = torch.zeros(2, facts.in_channels, *facts.image_size, device=context.device)
        try:
            stages = stages_of(model, images_nchw)
        except ModelError as error:
            raise TrialError(f"model {context.job.model.name!r}: {error}") from error
        made = cls(configuration, stages)
        context.rate_ratios.update(made.rate_ratios(model))
        made.rest(model)
        _log.info("%s", made)
        return made

    def __bool__(self) -> bool:
        return bool(self._stages)

    def __str__(self) -> str:
        frozen, (head, *_) = self._configuration.frozen_stages, self._stages[::-1]
        parts = [f"stages {_told(self._stages[:-1])}, head {head}"]
        parts += [f"frozen: {_told(self._stages[:frozen])}"] if frozen else []
        parts += [f"the head alone for {self._configuration.head_epochs} epochs"] if self._head_only else []
        return "fine-tuning: " + "; ".join(parts)

    def rate_ratios(self, model: nn.Module) -> dict[str, float]:
        """Of all parameters but the head's, by name: `backbone_lr_ratio`, and `layer_decay` once for each stage that
        follows (Clark et al., 2020, https://arxiv.org/abs/2003.10555, section 3.3)."""
        configuration, ratios = self._configuration, dict[str, float]()
        of_head = set(self._stages[-1].parameters(model))
        for distance, stage in enumerate(reversed(self._stages)):
            share = configuration.backbone_lr_ratio * configuration.layer_decay**distance
            ratios |= dict.fromkeys(stage.parameters(model) if distance else [], share)
        first = configuration.backbone_lr_ratio * configuration.layer_decay ** (len(self._stages) - 1)
        return {n: ratios.get(n, first) for n, _ in model.named_parameters() if n not in of_head}

    def rest(self, model: nn.Module) -> None:
        """What doesn't learn now gets no gradient, and its batch normalisation keeps its running statistics."""
        resting = self._stages[:-1] if self._head_only else self._stages[: self._configuration.frozen_stages]
        if not resting:
            return
        learning = {name for stage in self._stages if stage not in resting for name in stage.parameters(model)}
        for name, parameter in model.named_parameters():
            if name not in learning and parameter.requires_grad:
                parameter.requires_grad_(False)
                self._resting.append(name)
        for module in (model.get_submodule(name) for stage in resting for name in stage.modules):
            module.eval()
            module.train = MethodType(_stay, module)  # type: ignore[method-assign]  # of this one alone

    @property
    def head_only(self) -> bool:
        """Whether the head alone learns so far."""
        return self._head_only

    def joins(self, epoch: int) -> bool:
        """Whether the backbone begins to learn with this epoch, from 0."""
        return self._head_only and epoch >= self._configuration.head_epochs

    def join(self, model: nn.Module) -> None:
        """Let all learn but what is frozen."""
        self._head_only = False
        for name in self._resting:
            model.get_parameter(name).requires_grad_(True)
        self._resting = []
        for module in (model.get_submodule(name) for stage in self._stages for name in stage.modules):
            vars(module).pop("train", None)
        model.train()
        self.rest(model)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001  # torch's signature
    """In the place of `train`: what rests stays in evaluation mode."""
    return module


def _told(stages: list[Stage]) -> str:
    return ", ".join(str(stage) for stage in stages)
