"""Layer freezing, after FreezeOut (Brock, Lim, Ritchie, Weston, 2017, https://arxiv.org/abs/1706.04983)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice, Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.shape import eval_forward

POWERS = {"linear": 1, "cubic": 3}


class LayerFreezing(Strategy):
    """Let layers rest one after another, front to back: no gradient is computed below the first that learns.

    After FreezeOut (Brock, Lim, Ritchie, Weston, 2017, https://arxiv.org/abs/1706.04983): the first layer rests from
    `start` of the epochs on, the last one learns to the end, and those between follow at even distances, or (`cubic`)
    at the third powers of them, which rests early layers sooner. A step gets cheaper by what needs no backward pass any
    more; batch normalisation of resting layers goes on with the batch's statistics. The paper also anneals each layer's
    own rate to zero until it rests; here all layers keep the schedule's.
    """

    name = "layer_freezing"
    paper = "Brock, Lim, Ritchie & Weston, 2017, https://arxiv.org/abs/1706.04983"
    saves = Saves.TIME
    sites = frozenset({Site.LEARNING})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "start": Knob(
            allowed=Range(low=0.05, high=0.95), default=0.5, meaning="share of the epochs in which all layers learn"
        ),
        "scaling": Knob(
            allowed=Choice(values=("linear", "cubic")),
            default="linear",
            meaning="how the times at which layers rest are spread; cubic: the third powers of the linear ones",
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "prunetrain": "prunetrain shrinks and cuts weights that layer_freezing lets rest",
        "net2net": "net2net makes new weights of those that layer_freezing lets rest",
    }

    start: float
    scaling: str

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        layers = layers_in_order(run.model, run.sample_batch().images_nchw)
        if not resting(len(layers), run.epochs - 1, run.epochs, self.start, power=self._power):
            raise StrategyError(
                f"layer_freezing: none of {len(layers)} layers would rest before the last of {run.epochs} epochs; "
                "lower start, train for more epochs, or leave it out"
            )

    @property
    def _power(self) -> int:
        return POWERS[self.scaling]

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        layers = layers_in_order(run.model, run.sample_batch().images_nchw) if epoch else []
        count = resting(len(layers), epoch, run.epochs, self.start, power=self._power)
        names = [name for layer in layers[:count] for name in _learning(run.model, layer)]
        if names:
            run.replace_model(rest(run.model, names), {}, by=self.name, change={"resting": names, "exported": False})

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The changes tell all."""

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return rest(model, change["resting"])


def resting(layers: int, epoch: int, epochs: int, start: float, *, power: int = 1) -> int:
    """How many of so many layers, from the first on, rest in epoch number `epoch`, from 0.

    Layer i of 0 … L rests from the share (start + (1 − start)·i/L)^power of the epochs on, the last one never, and all
    learn in the first epoch.
    """
    if epoch == 0:
        return 0
    last = layers - 1
    times = ((start + (1 - start) * layer / last) ** power for layer in range(last))
    return sum(epoch >= time * epochs - 1e-9 for time in times)


def layers_in_order(model: nn.Module, images_nchw: Tensor) -> list[str]:
    """Names of the modules with parameters of their own, in the order in which images come to them first."""
    order: dict[str, None] = {}
    owners = {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    hooks = [
        module.register_forward_pre_hook(lambda _, __, name=name: order.setdefault(name))
        for name, module in owners.items()
    ]
    try:
        eval_forward(model, images_nchw)
    finally:
        for hook in hooks:
            hook.remove()
    return list(order)


def rest(model: nn.Module, names: list[str]) -> nn.Module:
    """These parameters learn no more."""
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def _learning(model: nn.Module, layer: str) -> list[str]:
    module = model.get_submodule(layer)
    return [f"{layer}.{name}".lstrip(".") for name, p in module.named_parameters(recurse=False) if p.requires_grad]
