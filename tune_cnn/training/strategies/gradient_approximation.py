"""Approximate weight gradients, after Wang & Nelaturu, 2019, https://arxiv.org/abs/1908.05460."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.conv_calls import plain_call, put_calls, take_calls
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped


class GradientApproximation(Strategy):
    """Compute the convolutions' weight gradients in every few steps alone, and put something cheaper between.

    After Wang & Nelaturu, "Accelerated CNN Training Through Gradient Approximation", 2019,
    https://arxiv.org/abs/1908.05460. In every `every`-th step all gradients are exact. In the others those of the
    convolutions' weights, a third of a step's arithmetic, are `skipped` (these weights rest, all else learns), `random`
    (normal, with the deviation of the last exact gradient) or those of a `subset` of the batch, scaled to the whole.
    Gradients of what a layer is given are always exact, so all layers below learn as they should. What is left out is
    really not computed.
    """

    name = "gradient_approximation"
    paper = "Wang & Nelaturu, 2019, https://arxiv.org/abs/1908.05460"
    saves = Saves.TIME
    sites = frozenset({Site.CONV_BACKWARD})
    forbids: ClassVar[Mapping[str, str]] = {
        "layer_replacement": "gradient_approximation keeps something of each layer, and layer_replacement puts others "
        "in their place"
    }
    leaves_unused = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "every": Knob(allowed=Range(low=2, high=64), default=2, meaning="steps from one exact gradient to the next"),
        "otherwise": Knob(
            allowed=Choice(values=("skipped", "random", "subset")),
            default="subset",
            meaning="what stands for the weight gradients between",
        ),
        "share": Knob(allowed=Range(low=0.02, high=0.9), default=0.25, meaning="of the batch, that a subset is"),
    }

    every: int
    otherwise: str
    share: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._mode = Mode()
        self._step = 0  # since the start of the training
        self._deviations: dict[str, Tensor] = {}  # of the last exact gradients
        self._draws = torch.Generator()  # of the epoch
        self._left_out: dict[str, float] = {}  # images without a weight gradient, by their size

    def prepare(self, run: TrainingRun) -> None:
        if not put_calls(run.model, self._call):
            raise StrategyError("gradient_approximation: the model has no Conv2d; leave it out of the space")

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._draws = run.generator(self.name, epoch)
        put_calls(run.model, self._call)  # layers that another strategy has put in meanwhile

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        put_calls(run.model, self._call)

    def _call(self, name: str, layer: nn.Conv2d) -> "ApproximateCall":
        return ApproximateCall(layer, self._mode)

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        images = len(batch.labels_n)
        if self._step % self.every == 0:
            return batch
        self._mode.images = subset(images, self.share) if self.otherwise == "subset" else 0
        height, width = batch.images_nchw.shape[-2:]
        key = f"{height} {width}"
        self._left_out[key] = self._left_out.get(key, 0) + images - self._mode.images
        return batch

    def after_backward(self, run: TrainingRun) -> None:
        if self.otherwise != "random":
            return
        for name, weight in _conv_weights(run.model).items():
            if self._mode.images is None and weight.grad is not None:
                self._deviations[name] = weight.grad.std(correction=0)
            elif name in self._deviations and weight.requires_grad:
                drawn = torch.randn(weight.shape, generator=self._draws).to(weight)
                weight.grad = (drawn * self._deviations[name]).contiguous(memory_format=_layout(weight))

    def after_step(self, run: TrainingRun) -> None:
        self._step += 1
        self._mode.images = None  # whoever goes through the net beside the steps gets all of its gradients

    def metrics(self, run: TrainingRun) -> Mapping[str, float]:
        for key, images in self._left_out.items():
            height, width = key.split()
            flops = run.flops_by_module((int(height), int(width)))
            convolutions = [n for n, m in run.model.named_modules() if isinstance(m, nn.Conv2d) and _learns(m)]
            # A weight gradient is as much as the forward pass.
            each = sum(flops.get(name, {}).get(torch.ops.aten.convolution, 0.0) for name in convolutions)
            run.gflops_beside -= images * each / 1e9
        self._left_out = {}
        return {}

    def finish(self, run: TrainingRun) -> None:
        take_calls(run.model)

    def state_dict(self) -> dict[str, Untyped]:
        return {
            "step": self._step,
            "deviations": self._deviations,
            "draws": self._draws.get_state(),
            "left_out": self._left_out,
        }

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._step, self._left_out = state["step"], dict(state["left_out"])
        self._deviations = {name: value.to(run.device, copy=True) for name, value in state["deviations"].items()}
        self._draws.set_state(state["draws"])


class Mode:
    """How many images of a batch give the weight gradients of this step; None: all."""

    images: int | None = None


class ApproximateCall:
    """A convolution whose weight gradient is that of some images, scaled to all, or isn't computed."""

    def __init__(self, layer: nn.Conv2d, mode: Mode) -> None:
        self._layer, self._mode = layer, mode

    def __call__(self, images_nchw: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        count = self._mode.images
        if count is None or not torch.is_grad_enabled():
            return plain_call(self._layer, images_nchw, weight, bias)
        if count == 0:
            return plain_call(self._layer, images_nchw, weight.detach(), bias)
        scaled: Tensor = ScaledGradient.apply(weight, len(images_nchw) / count)
        parts = [
            plain_call(self._layer, images_nchw[:count], scaled, bias),
            plain_call(self._layer, images_nchw[count:], weight.detach(), bias),
        ]
        return torch.cat(parts)


class ScaledGradient(torch.autograd.Function):
    """The tensor itself; its gradient times a number."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]  # torch lets a context carry what its function needs
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None  # type: ignore[attr-defined]  # see forward


def subset(images: int, share: float) -> int:
    """How many images of a batch; fewer than all, and one at least, where there are two."""
    return min(max(1, round(share * images)), max(1, images - 1))


def _conv_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What convolutions' weights are made of, by name: the weights, or direction and length of a normalised one."""
    return {
        f"{name}.{of_layer}".lstrip("."): parameter
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        for of_layer, parameter in layer.named_parameters()
        if parameter.ndim > 1
    }


def _learns(layer: nn.Conv2d) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters() if parameter.ndim > 1)


def _layout(weight: Tensor) -> torch.memory_format:
    channels_last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last and not weight.is_contiguous() else torch.contiguous_format
