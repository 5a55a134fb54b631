"""Weight normalisation (Salimans & Kingma, 2016, https://arxiv.org/abs/1602.07868)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.untyped import Untyped

Layer = nn.Conv2d | nn.Linear
DIRECTION_STD = 0.05  # of the paper: v ~ N(0, 0.05²)
SMALLEST_STD = 1e-6  # of an output channel; one that never varies on the sample keeps its length


class WeightNorm(Strategy):
    """Learn each filter's direction apart from its length: w = g·v/‖v‖.

    Salimans & Kingma, "Weight Normalization", 2016, arXiv 1602.07868. Lengths and biases start from one batch, so that
    every channel leaves its layer with mean 0 and deviation 1; pretrained weights keep the values that they have. The
    authors go without batch norm, or with one that subtracts the mean only; behind a full batch norm the length has no
    effect on the output. At the end of the training g·v/‖v‖ is folded into plain weights.
    """

    name = "weight_norm"
    paper = "Salimans & Kingma, 2016, https://arxiv.org/abs/1602.07868"
    saves = Saves.DATA
    sites = frozenset({Site.WEIGHT_PARAM})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "include_linear": Knob(
            allowed=Choice(values=(False, True)), default=False, meaning="normalise the linear layers too"
        )
    }
    forbids: ClassVar[Mapping[str, str]] = {
        name: f"{name} changes the shape of weights that weight_norm keeps as g·v/‖v‖"
        for name in ("prunetrain", "net2net", "kernel_rescaling")
    }

    include_linear: bool

    def prepare(self, run: TrainingRun) -> None:
        kinds = (nn.Conv2d, nn.Linear) if self.include_linear else (nn.Conv2d,)
        layers = [module for module in run.model.modules() if isinstance(module, kinds)]
        if not layers:
            told = " or ".join(kind.__name__ for kind in kinds)
            raise StrategyError(f"weight_norm: the model has no layer of kind {told}; leave it out of the space")
        for layer in layers:
            parametrizations.weight_norm(layer)
        if not run.pretrained:
            start_from_batch(run.model, layers, run.sample_batch(), run.generator(self.name, 0))

    def finish(self, run: TrainingRun) -> None:
        fold(run.model)
        run.replace_model(run.model, {}, by=self.name, change={"exported": False})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return fold(model)


def start_from_batch(model: nn.Module, layers: Sequence[Layer], batch: Batch, generator: torch.Generator) -> None:
    """Draw v, then set g = 1/σ and b = −μ/σ by what each layer makes of the batch, from the first layer on.

    Running statistics and the like stay as they are.
    """
    kept = [buffer.clone() for buffer in model.buffers()]
    waiting = set(layers)

    def scale(layer: Layer, _inputs: object, output_nc: Tensor) -> Tensor | None:
        if layer not in waiting:
            return None  # one that the model uses twice starts from its first use
        waiting.discard(layer)
        over = [axis for axis in range(output_nc.ndim) if axis != 1]
        mean, std = output_nc.mean(over), output_nc.std(over, correction=0)
        std = torch.where(std > SMALLEST_STD, std, 1.0)
        length, _ = length_and_direction(layer)
        length.copy_((1 / std).view_as(length))
        shape = [-1 if axis == 1 else 1 for axis in range(output_nc.ndim)]
        if layer.bias is None:
            return output_nc / std.view(shape)
        layer.bias.copy_(-mean / std)
        return (output_nc - mean.view(shape)) / std.view(shape)

    hooks = [layer.register_forward_hook(scale) for layer in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            for layer in layers:
                _draw_direction(layer, generator)
            model.train()(batch.images_nchw)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), kept, strict=True):
            buffer.copy_(value)


def _draw_direction(layer: Layer, generator: torch.Generator) -> None:
    """v anew, g = 1, b = 0: what the layer then gives is v·x/‖v‖."""
    length, direction = length_and_direction(layer)
    direction.copy_(torch.empty(direction.shape).normal_(0.0, DIRECTION_STD, generator=generator))
    length.fill_(1.0)
    if layer.bias is not None:
        layer.bias.zero_()


def length_and_direction(layer: Untyped) -> tuple[nn.Parameter, nn.Parameter]:
    """g and v of a normalised layer."""
    weight = layer.parametrizations.weight
    return weight.original0, weight.original1


def fold(model: nn.Module) -> nn.Module:
    """Plain weights w = g·v/‖v‖ in place of their directions and lengths."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model
