"""Sparse activation gradients (Ye et al., 2019, https://arxiv.org/abs/1908.00173), simulated."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.conv_calls import plain_call, put_calls, take_calls
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped

QUEUE = 5  # batches that the next one's threshold is predicted from
GAIN = 0.5  # how fast the threshold follows the share that came under it


class SparseGradients(Strategy):
    """Set most gradients of the convolutions' outputs to zero at random, without a bias (a simulation).

    Ye, Dai, Yang et al., "Accelerating CNN Training by Pruning Activation Gradients", 2019,
    https://arxiv.org/abs/1908.00173. A gradient g under the threshold τ becomes sgn(g)·τ with probability |g|/τ and 0
    else: its expectation stays. For the wanted share p under it, τ = Φ⁻¹((1 + p)/2)·σ, where σ = √(π/2)·mean|g|, as g
    were normal; τ is predicted from the last batches', so that a gradient is gone through once. Gradients are not
    normal everywhere: a factor of ours on τ follows the share that really came under it.

    No ordinary hardware skips zeros: this never saves time. `skippable_train_gflops` tells the arithmetic that hardware
    which does would have saved; `train_gflops` and all times are those of a full training.
    """

    name = "sparse_gradients"
    paper = "Ye et al., 2019, https://arxiv.org/abs/1908.00173"
    saves = Saves.SIMULATED
    sites = frozenset({Site.CONV_BACKWARD})
    forbids: ClassVar[Mapping[str, str]] = {
        name: f"sparse_gradients keeps a threshold for each layer, and {name} puts others in their place"
        for name in ("early_bird", "layer_replacement", "net2net")
    }
    knobs: ClassVar[Mapping[str, Knob]] = {
        "sparsity": Knob(
            allowed=Range(low=0.1, high=0.99), default=0.9, meaning="share of the gradients that is drawn to 0 or ±τ"
        )
    }

    sparsity: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._layers: dict[str, LayerGradients] = {}
        self._size = (0, 0)
        self._skippable_gflops = 0.0  # on this rank

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        if spec.dimension("compile").holds(True):
            raise SpecError(f"space.compile: {NOT_COMPILED}")

    def prepare(self, run: TrainingRun) -> None:
        if run.configuration.compile:
            raise StrategyError(NOT_COMPILED)
        if not self._put_calls(run):
            raise StrategyError("sparse_gradients: the model has no Conv2d; leave it out of the space")

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._put_calls(run)  # layers that another strategy has put in meanwhile

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._put_calls(run)

    def _put_calls(self, run: TrainingRun) -> list[str]:
        def call(name: str, layer: nn.Conv2d) -> SparseCall:
            own = self._layers.setdefault(name, LayerGradients(self.sparsity, run.device))
            return SparseCall(layer, own)

        return put_calls(run.model, call)

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        height, width = batch.images_nchw.shape[-2:]
        self._size = (height, width)
        return batch

    def end_epoch(self, run: TrainingRun) -> None:
        """Each rank has pruned by its own gradients; the next epoch begins with their mean."""
        for layer in self._layers.values():
            layer.state = run.add_up(layer.state) / run.group.ranks

    def metrics(self, run: TrainingRun) -> Mapping[str, float]:
        flops = run.flops_by_module(self._size)
        for name, layer in self._layers.items():
            backward = flops.get(name, {}).get(torch.ops.aten.convolution_backward, 0.0)
            self._skippable_gflops += backward * float(layer.zero_images) / 1e9
            layer.zero_images.zero_()
        return {"skippable_train_gflops": self._skippable_gflops}

    def finish(self, run: TrainingRun) -> None:
        take_calls(run.model)

    def state_dict(self) -> dict[str, Untyped]:
        return {
            "layers": {name: layer.state for name, layer in self._layers.items()},
            "zero_images": {name: layer.zero_images for name, layer in self._layers.items()},
            "skippable_gflops": self._skippable_gflops,
        }

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        for name, layer in self._layers.items():
            if name in state["layers"]:
                layer.state = state["layers"][name].to(run.device, copy=True)
                layer.zero_images = state["zero_images"][name].to(run.device, copy=True)
        self._skippable_gflops = state["skippable_gflops"]


NOT_COMPILED = "sparse_gradients: is a simulation that goes through gradients one by one; set compile: false"


class LayerGradients:
    """What one convolution knows of its gradients. Tensors on the device: no step waits for them."""

    def __init__(self, sparsity: float, device: torch.device) -> None:
        self.sparsity = sparsity
        # σ of the last batches, how many of them there are, and the factor between σ and τ.
        self.state = torch.tensor([0.0] * QUEUE + [0.0, normal_factor(sparsity)], device=device)
        self.zero_images = torch.zeros((), dtype=torch.float64, device=device)  # share of zeros, times images
        self.under = torch.zeros((), device=device)  # share that came under the threshold, in the last batch

    def pruned(self, gradient: Tensor) -> Tensor:
        """The batch's gradient with most of it set to zero, none as long as the queue isn't full."""
        size = gradient.abs().float()
        sigmas, known, factor = self.state[:QUEUE], self.state[QUEUE], self.state[QUEUE + 1]
        full = known >= QUEUE
        threshold = torch.where(full, factor * sigmas.mean(), 0.0)
        found = prune(gradient, threshold, torch.rand_like(size))
        self.under = (size < threshold).float().mean()
        self.zero_images += (found == 0).double().mean() * len(gradient)
        factor = torch.where(full, factor * ((self.sparsity - self.under) * GAIN).exp(), factor)
        sigma = math.sqrt(math.pi / 2) * size.mean()
        self.state = torch.cat([sigmas[1:], torch.stack([sigma, (known + 1).clamp(max=QUEUE), factor])])
        return found


def normal_factor(sparsity: float) -> float:
    """τ/σ under which that share of a normal distribution lies."""
    return NormalDist().inv_cdf((1 + sparsity) / 2)


def prune(gradient: Tensor, threshold: Tensor, random: Tensor) -> Tensor:
    """What lies under the threshold becomes sgn(g)·τ with probability |g|/τ, else 0; random: uniform in [0, 1)."""
    size = gradient.abs()
    drawn = torch.where(random * threshold < size, gradient.sign() * threshold.to(gradient.dtype), 0.0)
    return torch.where(size < threshold, drawn.to(gradient.dtype), gradient)


class SparseCall:
    """A convolution that is the plain one, but for the gradient of its output."""

    def __init__(self, layer: nn.Conv2d, gradients: LayerGradients) -> None:
        self._layer, self._gradients = layer, gradients

    def __call__(self, images_nchw: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output = plain_call(self._layer, images_nchw, weight, bias)
        pruned: Tensor = PrunedGradient.apply(output, self._gradients)
        return pruned


class PrunedGradient(torch.autograd.Function):
    """The tensor itself; its gradient with most of it set to zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, gradients: LayerGradients) -> Tensor:
        ctx.gradients = gradients  # type: ignore[attr-defined]  # torch lets a context carry what its function needs
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        if gradient.is_meta:  # what the model costs is measured without values
            return gradient, None
        return ctx.gradients.pruned(gradient), None  # type: ignore[attr-defined]  # see forward
