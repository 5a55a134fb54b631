"""Dynamic fixed point (Das et al., 2018, https://arxiv.org/abs/1802.00930), simulated; of 8 bits for SWALP, too."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec.dimensions import Choice
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.block_floating import quantised
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped

MULTIPLYING = (nn.Conv2d, nn.Linear)
FIRST_MOMENTS = ("momentum_buffer", "exp_avg")


class Dfp16(Strategy):
    """Train with integers of few bits under one exponent a tensor, as a simulation: it shows accuracy, never speed.

    Das et al., "Mixed Precision Training of Convolutional Neural Networks using Integer Operations", 2018,
    https://arxiv.org/abs/1802.00930, with the quantiser of SWALP (Yang et al., 2019, arXiv 1904.11943).

    All that convolutions and linear layers multiply is in the format: what they are given, their weights, and the
    errors that come back to them; so are the weights' gradients and the optimizer's momentum. Norms and sums are
    float32, as in the papers, and so is Adam's second moment, which spans twice the range. Weights are stored in the
    format (SWALP), or kept in float32 beside it with `master_weights` (Das et al.). What is evaluated and exported is
    the stored weights, in the arithmetic of the configuration's `precision`; a half precision rounds operands further.
    """

    name = "dfp16"
    paper = "Das et al., 2018, https://arxiv.org/abs/1802.00930"
    saves = Saves.SIMULATED
    sites = frozenset({Site.NUMERICS, Site.CONV_BACKWARD})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "bits": Knob(allowed=Choice(values=(16, 8)), default=16, meaning="of each value, its sign among them"),
        "rounding": Knob(
            allowed=Choice(values=("stochastic", "nearest")),
            default="stochastic",
            meaning="stochastic: to one of the two neighbours, so that the expectation is the value",
        ),
        "master_weights": Knob(
            allowed=Choice(values=(False, True)),
            default=False,
            meaning="keep the weights in float32, and take those of the format from them for each step",
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "weight_norm": "weight_norm makes a layer's weights anew in each step, outside the format",
        "ssf": "ssf makes a layer's weights anew in each step, outside the format",
        "isgd": "isgd steps again by itself, outside the format",
        "lookahead": "lookahead sets weights to values between those of the format",
    }
    bits: int
    rounding: str
    master_weights: bool

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._draws = 0  # how often weights, gradients or momentum have been rounded
        self._masters: list[tuple[nn.Parameter, Tensor]] = []  # within a step

    def prepare(self, run: TrainingRun) -> None:
        if not self._attach(run.model):
            raise StrategyError("dfp16: the model has no layer of kind Conv2d or Linear; leave it out of the space")

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        """Layers and weights may be others than before."""
        self._attach(run.model)
        if not self.master_weights:
            self._round(run, [parameter.data for parameter in run.model.parameters()])

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._attach(run.model)

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        if self.master_weights:
            self._masters = [(parameter, parameter.data.clone()) for parameter in run.model.parameters()]
            self._round(run, [parameter.data for parameter in run.model.parameters()])
        return batch

    def after_backward(self, run: TrainingRun) -> None:
        with torch.no_grad():
            for parameter, master in self._masters:
                parameter.copy_(master)
        self._masters = []
        self._round(run, [p.grad for p in run.model.parameters() if p.grad is not None])

    def after_step(self, run: TrainingRun) -> None:
        weights = [] if self.master_weights else [parameter.data for parameter in run.model.parameters()]
        state: Mapping[Untyped, Untyped] = run.optimizer.state
        momenta = [
            state[p][key] for p in run.model.parameters() if p in state for key in FIRST_MOMENTS if key in state[p]
        ]
        self._round(run, [*weights, *momenta])

    def state_dict(self) -> dict[str, Untyped]:
        return {"draws": self._draws}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._draws = state["draws"]

    def _attach(self, model: nn.Module) -> bool:
        """Whether there is a layer whose operands are rounded from here on."""
        layers = [module for module in model.modules() if isinstance(module, MULTIPLYING)]
        for layer in layers:
            if not any(isinstance(hook, RoundInput) for hook in layer._forward_pre_hooks.values()):
                layer.register_forward_pre_hook(RoundInput(self.bits, stochastic=self._stochastic))
                layer.register_forward_hook(RoundError(self.bits, stochastic=self._stochastic))
        return bool(layers)

    def _round(self, run: TrainingRun, tensors: Iterable[Tensor]) -> None:
        """In place; alike on all ranks."""
        seed = run.generator(self.name, self._draws).initial_seed()
        random = torch.Generator(run.device).manual_seed(seed)
        self._draws += 1
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(quantised(tensor, self.bits, stochastic=self._stochastic, generator=random))

    @property
    def _stochastic(self) -> bool:
        return self.rounding == "stochastic"


class RoundInput:
    """What a layer is given, in training: rounded, and its gradient passed on as though it were not."""

    def __init__(self, bits: int, *, stochastic: bool) -> None:
        self._bits, self._stochastic = bits, stochastic

    def __call__(self, layer: nn.Module, args: tuple[Untyped, ...]) -> tuple[Untyped, ...]:
        if not layer.training:
            return args
        inputs, *rest = args
        return (_StraightThrough.apply(inputs, self._bits, self._stochastic), *rest)


class RoundError:
    """The gradient of what a layer makes, in training: rounded before it goes back through the layer."""

    def __init__(self, bits: int, *, stochastic: bool) -> None:
        self._bits, self._stochastic = bits, stochastic

    def __call__(self, layer: nn.Module, _args: tuple[Untyped, ...], output: Tensor) -> None:
        if layer.training and output.requires_grad:
            output.register_hook(lambda error: quantised(error, self._bits, stochastic=self._stochastic))


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Untyped, inputs: Tensor, bits: int, stochastic: bool) -> Tensor:
        return quantised(inputs, bits, stochastic=stochastic)

    @staticmethod
    def backward(_ctx: Untyped, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None
