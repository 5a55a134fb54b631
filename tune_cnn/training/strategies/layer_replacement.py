"""Cheaper layers for convolutions, after BlockSwap (Turner et al., 2019, https://arxiv.org/abs/1906.04113)."""

import copy
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.models.measure import measure_unknown
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.substitutes import Substitute, init_from, replace_layer, substitute_for

_log = logging.getLogger(__name__)

WARM_UP, MEASURED = 1, 5  # steps of each net, one after the other: other work on the machine meets both

Substitutes = dict[str, Substitute]
"""What could stand in for each convolution, by name."""


class LayerReplacement(Strategy):
    """Put cheaper layers in the place of the convolutions that matter least, until a step meets its budget of time.

    After Turner, Crowley, O'Boyle, "BlockSwap: Fisher-guided Block Substitution for Network Compression on a Budget",
    2019, https://arxiv.org/abs/1906.04113: the Fisher information of a layer, from one batch at the start, tells what
    it matters, Σ_c 1/(2N) Σ_n (Σ_hw a·∂L/∂a)² over its output's channels c. What is ours: layers are replaced one by
    one, the least information first, as few as it takes for a step's forward and backward pass to take `budget` of what
    it took before. That is measured, both nets in turns, on the clock, uncompiled; so on another machine other layers
    may go, and of one trial run twice, too. `measure: flops` counts arithmetic instead, and is the same everywhere. The
    layer that reads the images stays. Which layers went, and what a step then takes, is logged and stands in
    `changes.json`.

    A substitute begins as the nearest to the convolution's weights; where they were drawn at random, with their length.
    """

    name = "layer_replacement"
    paper = "Turner, Crowley & O'Boyle, 2019, https://arxiv.org/abs/1906.04113"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "kind": Knob(
            allowed=Choice(values=("depthwise_separable", "grouped", "low_rank")),
            default="depthwise_separable",
            meaning="what stands in for a convolution",
        ),
        "budget": Knob(
            allowed=Range(low=0.1, high=0.99), default=0.8, meaning="of the time of a step, that it may take afterwards"
        ),
        "measure": Knob(
            allowed=Choice(values=("time", "flops")), default="time", meaning="what the budget is of: seconds or FLOPs"
        ),
        "groups": Knob(allowed=Range(low=2, high=64), default=4, meaning="of kind `grouped`"),
        "rank": Knob(
            allowed=Range(low=0.01, high=0.9), default=0.25, meaning="of kind `low_rank`: share of the full rank"
        ),
    }
    decisive = frozenset({"kind", "budget", "measure", "groups", "rank"})
    forbids: ClassVar[Mapping[str, str]] = {
        "weight_norm": "layer_replacement puts other layers in the place of those that weight_norm has split",
        "ssf": "layer_replacement puts other layers in the place of those whose structure ssf has frozen",
        "stochastic_depth": "stochastic_depth leaves out, at random, layers that layer_replacement weighs and times",
        "kernel_rescaling": "layer_replacement takes away the layers whose kernels are to be rescaled",
    }
    kind: str
    budget: float
    measure: str
    groups: int
    rank: float

    def prepare(self, run: TrainingRun) -> None:
        found = self._substitutes(run)
        if not found:
            raise StrategyError(
                f"{self.name}: the model has no convolution, but the one that reads the images, that layers of kind "
                f"{self.kind} could stand in for; use another kind, or leave the strategy out"
            )
        if self.measure == "flops":
            self._check_reached(run, flops_ratio(run)(run.model, self._replaced(run, found, list(found))))

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch > 0:
            return
        found, batch = self._substitutes(run), run.mixed(run.sample_batch())
        losses_of = partial(run.loss_of, reduction="none")
        information = fisher_information(run.model, batch, list(found), losses_of)
        run.count_pass(batch.images_nchw, backward=True)
        order: list[str] = run.group.share(sorted(found, key=lambda name: (information[name], name)))
        ratio = flops_ratio(run) if self.measure == "flops" else time_ratio(run, batch)
        count, share = fewest(
            len(order),
            lambda count: run.group.share(ratio(run.model, self._replaced(run, found, order[:count]))),
            budget=self.budget,
        )
        self._check_reached(run, share)
        replaced = {name: dict(found[name]) for name in order[:count]}
        model = self._replaced(run, found, order[:count])
        _log.info(
            "layer_replacement: %s stand%s in for %s; a step takes %.0f %% of its %s",
            self.kind, "s" if count == 1 else "", ", ".join(replaced), 100 * share, self.measure,
        )  # fmt: skip
        run.replace_model(model, {}, by=self.name, change={"replaced": replaced, f"step_{self.measure}_share": share})

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The changes tell all."""

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        for name, substitute in change["replaced"].items():
            replace_layer(model, name, substitute)
        return model

    def _substitutes(self, run: TrainingRun) -> Substitutes:
        return substitutes(run.model, run.facts.in_channels, kind=self.kind, groups=self.groups, rank_share=self.rank)

    def _replaced(self, run: TrainingRun, found: Substitutes, names: Sequence[str]) -> nn.Module:
        """A copy of the model in which these layers have their substitutes."""
        model = copy.deepcopy(run.model)
        for name in names:
            weight = model.get_parameter(f"{name}.weight").detach()
            replace_layer(model, name, found[name])
            init_from(model, name, weight, keep_length=not run.pretrained)
        return model

    def _check_reached(self, run: TrainingRun, share: float) -> None:
        if share > self.budget:
            raise StrategyError(
                f"{self.name}: budget={self.budget:g} of a step's {self.measure} can't be reached: with all "
                f"convolutions replaced by kind {self.kind} it is {share:.2f}, the nearest that it can; raise the "
                "budget, or use another kind"
            )


def substitutes(model: nn.Module, in_channels: int, *, kind: str, groups: int, rank_share: float) -> Substitutes:
    """What could stand in for each convolution but the first, where that reads the images."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    if layers and layers[0][1].in_channels == in_channels:
        layers = layers[1:]
    found = {name: substitute_for(layer, kind, groups=groups, rank_share=rank_share) for name, layer in layers}
    return {name: substitute for name, substitute in found.items() if substitute is not None}


def fisher_information(
    model: nn.Module, batch: Batch, names: Sequence[str], losses_of: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """Of each named layer: Σ_c 1/(2N) Σ_n (Σ_hw a·∂L_n/∂a)², a its output. The model is left as it was.

    losses_of: the logits and the labels of images, to the loss of each.
    """
    model, seen = copy.deepcopy(model).train(), dict[str, list[Tensor]]()

    def keep(name: str, output: Tensor) -> Tensor:
        output.retain_grad()
        seen.setdefault(name, []).append(output)
        return output.clone()  # what follows may work in place

    for name in names:
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: keep(name, output))
    with torch.enable_grad():
        losses_of(model(batch.images_nchw), batch.labels_n).sum().backward()
    found = {}
    for name in names:  # a layer that is called twice answers for both; one that isn't, for nothing
        of_calls = [(out.detach() * out.grad).sum((2, 3)) for out in seen.get(name, []) if out.grad is not None]
        slopes_nc = torch.stack(of_calls).sum(0) if of_calls else None
        found[name] = 0.0 if slopes_nc is None else float(slopes_nc.square().sum() / (2 * len(slopes_nc)))
    return found


def fewest(most: int, ratio: Callable[[int], float], *, budget: float) -> tuple[int, float]:
    """The least number of replaced layers whose ratio meets the budget, by bisection, and the ratio; else of all."""
    low, high, of_high = 0, most, ratio(most)  # `low` is taken not to meet it
    while of_high <= budget and high - low > 1:
        middle = (low + high) // 2
        of_middle = ratio(middle)
        low, high, of_high = (low, middle, of_middle) if of_middle <= budget else (middle, high, of_high)
    return high, of_high


Ratio = Callable[[nn.Module, nn.Module], float]
"""What a step of the second net takes of a step of the first."""


def flops_ratio(run: TrainingRun) -> Ratio:
    facts = run.facts

    def gflops(model: nn.Module) -> float:
        of_model = measure_unknown(
            copy.deepcopy(model),
            num_classes=facts.num_classes,
            in_channels=facts.in_channels,
            image_size=facts.image_size,
        )
        return of_model.train_gflops

    return lambda one, other: gflops(other) / gflops(one)


def time_ratio(run: TrainingRun, batch: Batch) -> Ratio:
    def step_s(model: nn.Module) -> float:
        begun = _now(run.device)
        with torch.enable_grad(), run.autocast():
            loss = run.loss_of(model(batch.images_nchw), batch.labels_n)
        loss.backward()
        model.zero_grad(set_to_none=True)
        run.count_pass(batch.images_nchw, backward=True)
        return _now(run.device) - begun

    def ratio(one: nn.Module, other: nn.Module) -> float:
        pair = [copy.deepcopy(model).train() for model in (one, other)]
        times = [[step_s(model) for model in pair] for _ in range(WARM_UP + MEASURED)][WARM_UP:]
        first, second = (statistics.median(each) for each in zip(*times, strict=True))
        return float(second / first)

    return ratio


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
