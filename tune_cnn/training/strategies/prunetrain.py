"""PruneTrain (Lym et al., SC 2019, https://arxiv.org/abs/1901.09290): cut channels while the net is being trained."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.strategies.net2net import Net2Net
from tune_cnn.training.surgery.channels import ChannelGraph
from tune_cnn.training.surgery.pruning import GroupNorms, cut_channels
from tune_cnn.training.surgery.shape import rebuild_shape
from tune_cnn.training.surgery.trace import channel_graph
from tune_cnn.untyped import Untyped

UNDER_ROOT = 1e-8  # the paper's: the norm's slope stays finite at zero
BATCH_STEPS = 4  # the batch grows by quarters of the first one, so that few sizes are met


class PruneTrain(Strategy):
    """Push whole channels to zero by a group lasso, and every few epochs cut them away for real.

    PruneTrain (Lym et al., 2019, https://arxiv.org/abs/1901.09290).

    The penalty's strength is set at the first step from `lpr`, its wanted share in the loss, and fixed from then on.
    The batch grows into the memory that the cut channels leave, and the learning rate with it, up to `most_batch` times
    the first batch, which alone bounds it where memory is plenty. On a GPU the memory is what the training has been
    seen to take; elsewhere an image takes it in proportion to the numbers that its forward pass makes. After net2net
    all this begins when the net has grown.
    """

    name = "prunetrain"
    paper = "Lym, Choukse, Zangeneh, Wen, Sanghavi, Erez, 2019, https://arxiv.org/abs/1901.09290"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})
    follows = frozenset({"net2net"})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "lpr": Knob(
            allowed=Range(low=0.01, high=0.8), default=0.2, meaning="share of the penalty in the loss at the first step"
        ),
        "interval": Knob(
            allowed=Range(low=0.01, high=0.5), default=0.05, meaning="share of the epochs between cuts, at least one"
        ),
        "threshold": Knob(
            allowed=Range(low=1e-6, high=0.1, log=True),
            default=1e-4,
            meaning="a channel whose weights all lie under it, in absolute value, is cut",
        ),
        "proximal": Knob(
            allowed=Choice(values=(False, True)),
            default=False,
            meaning="take the penalty as a proximal step, which makes exact zeros, not by its gradient as published",
        ),
        "grow_batch": Knob(
            allowed=Choice(values=(False, True)), default=True, meaning="let the batch grow into the freed memory"
        ),
        "most_batch": Knob(
            allowed=Range(low=1.0, high=32.0), default=4.0, meaning="largest batch that it grows to, by the first one"
        ),
    }
    lpr: float
    interval: float
    threshold: float
    proximal: bool
    grow_batch: bool
    most_batch: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._norms: GroupNorms | None = None
        self._strength: Tensor | None = None  # λ
        self._activations = 0  # of one image before the first cut
        self._peak_bytes = 0.0  # of the device while the net was whole; 0 where there is none to measure
        self._still_bytes = 0.0  # what of it lies there between steps

    def prepare(self, run: TrainingRun) -> None:
        graph = channel_graph(run.model, run.sample_batch().images_nchw)
        if not graph.free():
            raise StrategyError(
                f"{self.name}: the model has no channel that can be cut: "
                + ("; ".join([*graph.channels.reasons][:3]) or "it has no layer that is known")
            )

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        first = self._first_epoch(run)
        if epoch < first:
            return
        every = max(1, round(self.interval * run.epochs))
        if epoch > first and (epoch - first) % every == 0:
            self._cut(run)
        if self._norms is None:
            self._watch(run, channel_graph(run.model, run.sample_batch().images_nchw))

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch >= self._first_epoch(run):
            self._watch(run, channel_graph(run.model, run.sample_batch().images_nchw))

    def end_epoch(self, run: TrainingRun) -> None:
        """While the net is whole, see what the training takes."""
        if run.device.type == "cuda" and self._norms is not None and not self._has_cut(run):
            self._peak_bytes = max(self._peak_bytes, torch.cuda.max_memory_allocated(run.device))
            self._still_bytes = torch.cuda.memory_allocated(run.device)

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        if not self._norms or (self.proximal and self._strength is not None):  # nothing is left that could be cut
            return None
        norms = self._norms(run.model, UNDER_ROOT)
        if self._strength is None:
            cross_entropy = run.add_up(loss.detach()) / run.group.ranks
            self._strength = lasso_strength(self.lpr, cross_entropy, norms.detach())
        return None if self.proximal else self._strength * norms

    def after_step(self, run: TrainingRun) -> None:
        if self.proximal and self._norms is not None and self._strength is not None:
            group = run.optimizer.param_groups[0]
            self._norms.shrink(run.model, self._strength * step_length(group))

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return rebuild_shape(model, change)

    def state_dict(self) -> dict[str, Untyped]:
        return {
            "strength": self._strength,
            "activations": self._activations,
            "peak_bytes": self._peak_bytes,
            "still_bytes": self._still_bytes,
        }

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._strength = None if state["strength"] is None else state["strength"].to(run.device)
        self._activations = state["activations"]
        self._peak_bytes, self._still_bytes = state["peak_bytes"], state["still_bytes"]
        self._norms = None  # of the model's former shape

    def _first_epoch(self, run: TrainingRun) -> int:
        grower = run.strategies.get(Net2Net.name)
        return grower.growth_epoch(run.epochs) if grower is not None else 0

    def _watch(self, run: TrainingRun, graph: ChannelGraph) -> None:
        self._norms = GroupNorms(run.model, graph)
        self._activations = self._activations or graph.activations

    def _cut(self, run: TrainingRun) -> None:
        images_nchw = run.sample_batch().images_nchw
        cut = cut_channels(run.model, images_nchw, threshold=self.threshold, state=run.optimizer.state, doing=self.name)
        if not cut.channels:
            return
        run.replace_model(run.model, cut.carried, by=self.name, change=cut.change)
        self._watch(run, cut.graph)
        if self.grow_batch:
            self._grow_batch(run, cut.graph.activations / self._activations)

    def _grow_batch(self, run: TrainingRun, each: float) -> None:
        """each: what an image takes now, by what it took."""
        first = run.configuration.batch_size
        batch_size = grown_batch(
            first,
            ranks=run.group.ranks,
            freed=min(self.most_batch, self._freed(run, each)),
            most=len(run.train_images),
        )
        if batch_size > run.batch_size:
            grower = run.strategies.get(Net2Net.name)
            ratio = batch_size / first
            run.resize_batch(batch_size, learning_rate_ratio=ratio * (grower.lr_factor if grower else 1.0))

    def _freed(self, run: TrainingRun, each: float) -> float:
        """How many images fit where one did, on the rank where they are fewest."""
        if not self._peak_bytes:
            return 1 / each
        still_bytes = torch.cuda.memory_allocated(run.device)
        freed = freed_by_memory(self._peak_bytes, (self._still_bytes, still_bytes), each)
        return float(min(run.group.gather(freed)))

    def _has_cut(self, run: TrainingRun) -> bool:
        return any(change["strategy"] == self.name for change in run.changes)


def freed_by_memory(peak: float, still: tuple[float, float], each: float) -> float:
    """How many images fit now where one did: peak less what lies still, before and after, over what an image takes.

    All in bytes but `each`: what an image takes now, by what it took.
    """
    before, after = still
    return (peak - after) / ((peak - before) * each) if peak > before else 1 / each


def step_length(group: Mapping[str, Untyped]) -> float:
    """How far a gradient that stays the same moves a weight in one step: momentum adds the steps before."""
    return float(group["lr"]) / (1 - float(group.get("momentum", 0.0)))


def lasso_strength(lpr: float, cross_entropy: Tensor, norms: Tensor) -> Tensor:
    """The λ with which λP / (CE + λP) is `lpr`."""
    return lpr * cross_entropy / (norms * (1 - lpr))


def grown_batch(batch_size: int, *, ranks: int, freed: float, most: int) -> int:
    """The batch that fits where `batch_size` did, now that an image takes 1/`freed` of the memory.

    A multiple of the ranks; most: images that there are.
    """
    step = max(1, batch_size // BATCH_STEPS // ranks) * ranks
    steps = math.floor((min(batch_size * freed, most) - batch_size) / step)
    return batch_size + max(0, steps) * step
