"""Net2Net (Chen, Goodfellow, Shlens, 2015, https://arxiv.org/abs/1511.05641): grow a small net without a break."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs, switching_epoch
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.blocks import (
    Insertable,
    init_identity,
    inputs_in_training,
    insertable_blocks,
    spread,
)
from tune_cnn.training.surgery.channels import ChannelGraph
from tune_cnn.training.surgery.gather import copies, gather_channels
from tune_cnn.training.surgery.shape import check_eval_forward, put_back, rebuild_shape, resized, sizes, take_out
from tune_cnn.training.surgery.trace import channel_graph

COPIES, UNREAD = "copies", "unread"
Group = tuple[tuple[str, int], ...]
"""Channels of one width: the axes of the tensors on which they stand."""


class Net2Net(Strategy):
    """Train a narrower or shallower net first, then grow it to the configured one without changing its function.

    Net2WiderNet and Net2DeeperNet (Chen, Goodfellow, Shlens, 2015, https://arxiv.org/abs/1511.05641).

    The configured model is the target. Its teacher has `start_width` of the channels of every layer and `start_depth`
    of the layers that can be put in later; both are drawn like a small net's own start. At `grow_at` of the horizon
    the missing channels become copies of ones drawn at random, whose outgoing weights are divided by the number of
    copies, and the missing layers come in as identities. Layers joined by an addition share one mapping.

    The paper goes on at a tenth of the rate, with a teacher that has been trained to its end. Here both share one
    horizon, whose schedule has fallen already by then; so `lr_factor` is 1 unless asked for.

    `new_channels: unread` draws the missing channels, as long as the others are in the mean, and nothing reads them at
    first. It is the control of GradMax (Evci et al., 2022, https://arxiv.org/abs/2201.05125), and did better here than
    copies and no worse than GradMax (tests/benchmarks/RESULTS.md).
    """

    name = "net2net"
    paper = "Chen, Goodfellow, Shlens, 2015, https://arxiv.org/abs/1511.05641"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "start_width": Knob(
            allowed=Choice(values=(0.25, 0.5, 0.75, 1.0)), default=0.5, meaning="share of the channels to begin with"
        ),
        "start_depth": Knob(
            allowed=Choice(values=(0.0, 0.5, 1.0)),
            default=1.0,
            meaning="share, to begin with, of the layers that can be put in later",
        ),
        "grow_at": Knob(allowed=Range(low=0.05, high=0.95), default=0.5, meaning="share of the epochs before growth"),
        "new_channels": Knob(
            allowed=Choice(values=(COPIES, UNREAD)),
            default=COPIES,
            meaning="missing channels are copies, or drawn anew and at first read by nothing",
        ),
        "noise": Knob(
            allowed=Range(low=0.0, high=0.5),
            default=0.01,
            meaning="noise on copied weights, in their standard deviations: it lets copies part",
        ),
        "lr_factor": Knob(
            allowed=Range(low=0.01, high=4.0), default=1.0, meaning="learning rate after growth, by the schedule's"
        ),
    }
    decisive = frozenset({"start_width", "start_depth"})
    start_width: float
    start_depth: float
    grow_at: float
    new_channels: str
    noise: float
    lr_factor: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._placeholders: list[Insertable] = []
        self._target: dict[Group, int] = {}

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)
        width, depth = (spec.dimension(f"strategies.{cls.name}.{knob}") for knob in ("start_width", "start_depth"))
        if width.largest == depth.largest == 1:
            raise SpecError(
                f"space.strategies.{cls.name}: start_width and start_depth may both be 1, and nothing would be left to "
                "grow; take 1 out of one of them"
            )

    def growth_epoch(self, epochs: int) -> int:
        """Number, from 0, of the first epoch of the grown net."""
        return switching_epoch(self.grow_at, epochs, name=self.name)

    def prepare(self, run: TrainingRun) -> None:
        self.growth_epoch(run.epochs)
        if run.pretrained:
            raise StrategyError(
                f"{self.name}: begins with a small net of its own, which model.weights don't fit; leave one of them out"
            )
        images_nchw = run.sample_batch().images_nchw
        before = sizes(run.model)
        if self.start_depth < 1:
            self._placeholders = spread(insertable_blocks(run.model, images_nchw), self.start_depth)
        if self.start_depth < 1 and not self._placeholders:
            raise StrategyError(
                f"{self.name}: start_depth={self.start_depth}, but the model has no layer that could be put in later "
                "(a residual block, or a convolution from as many maps to as many before a ReLU); use start_depth: 1"
            )
        for name in _names(self._placeholders):
            take_out(run.model, name)
        graph = channel_graph(run.model, images_nchw)
        self._target = {group: len(channels) for group, channels in graph.groups().items()}
        if self.start_width < 1:
            narrow(run.model, graph, self.start_width)
        elif not self._placeholders:
            raise StrategyError(f"{self.name}: start_width and start_depth are both 1: nothing is left to grow")
        check_eval_forward(run.model, images_nchw, doing=self.name)
        change = {"absent": _names(self._placeholders), "sizes": resized(before, sizes(run.model))}
        run.replace_model(run.model, {}, by=self.name, change=change)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch != self.growth_epoch(run.epochs):
            return
        model, images_nchw = run.model, run.sample_batch().images_nchw
        before, random = sizes(model), run.generator(self.name, epoch)
        graph = channel_graph(model, images_nchw)
        counts = growth(graph, self._target, random)
        if self.new_channels == UNREAD:
            carried = gather_channels(model, graph, counts, run.optimizer.state, random=random)
        else:
            carried = gather_channels(model, graph, counts, run.optimizer.state)
            add_noise(model, graph, counts, self.noise, random)
        deepen(model, self._placeholders, images_nchw)
        change = {"present": _names(self._placeholders), "sizes": resized(before, sizes(model))}
        run.replace_model(model, carried, by=self.name, change=change)
        if self.lr_factor != 1:
            run.resize_batch(run.batch_size, learning_rate_ratio=self.lr_factor)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The changes tell all."""

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return rebuild_shape(model, change)


def narrow(model: nn.Module, graph: ChannelGraph, share: float) -> None:
    """Keep that share of every layer's channels, the first ones; in place.

    Weights that read fewer channels grow so that their sum keeps its spread, as a narrower layer's own start would be.
    """
    groups = graph.groups()
    if not groups:
        raise StrategyError(
            "net2net: the model has no layer whose width can be changed: "
            + ("; ".join([*graph.channels.reasons][:3]) or "it has no layer that is known")
        )
    counts: dict[int, int] = {}
    for places, channels in groups.items():
        kept = share * len(channels)
        if kept != int(kept):
            raise StrategyError(
                f"net2net: start_width={share} of the {len(channels)} channels of {places[0][0]} are {kept:g}: growth "
                "from them doesn't divide; choose another start_width, or a width of the model that it divides"
            )
        counts.update(dict.fromkeys(channels[int(kept) :], 0))
    read_before = {name: model.get_parameter(name).shape[1] for name in graph.dense}
    gather_channels(model, graph, counts)
    with torch.no_grad():
        for name, read in read_before.items():
            weight = model.get_parameter(name)
            weight.mul_((read / weight.shape[1]) ** 0.5)


def growth(graph: ChannelGraph, target: Mapping[Group, int], random: torch.Generator) -> dict[int, int]:
    """How often each channel is to stand: all once, and ones drawn at random as often as it takes."""
    counts: dict[int, int] = {}
    for group, channels in graph.groups().items():
        drawn = torch.randint(len(channels), (target.get(group, len(channels)) - len(channels),), generator=random)
        often = torch.bincount(drawn, minlength=len(channels)) + 1
        counts.update(zip(channels, often.tolist(), strict=True))
    return counts


def add_noise(
    model: nn.Module, graph: ChannelGraph, counts: Mapping[int, int], noise: float, random: torch.Generator
) -> None:
    """Let copies differ from the first: normal noise on the weights that make them, in the weights' own spread."""
    if noise == 0:
        return
    with torch.no_grad():
        for name in sorted(graph.dense):
            weight = model.get_parameter(name)
            copied = copies(name, weight, graph, counts)
            if copied is not None and copied.any():
                drawn = torch.randn(weight.shape, generator=random).to(weight)
                weight.add_(drawn * copied * (noise * weight.std()))


def deepen(model: nn.Module, blocks: Sequence[Insertable], images_nchw: Tensor) -> None:
    """Put the blocks in, as identities, in place."""
    plain = [block.names[0] for block in blocks if not block.last]
    inputs = inputs_in_training(model, images_nchw, plain) if plain else {}
    for block in blocks:
        for name in block.names:
            put_back(model, name)
        init_identity(model, block, inputs.get(block.names[0]))


def _names(blocks: Sequence[Insertable]) -> list[str]:
    return [name for block in blocks for name in block.names]
