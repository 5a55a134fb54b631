"""Early-bird tickets (You et al., 2020, https://arxiv.org/abs/1909.11957): cut a net once its mask has settled."""

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.dimensions import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs, switching_epoch
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.channels import ChannelGraph
from tune_cnn.training.surgery.gather import gather_channels
from tune_cnn.training.surgery.shape import check_eval_forward, rebuild_shape, resized, sizes
from tune_cnn.training.surgery.trace import channel_graph
from tune_cnn.untyped import Untyped

_log = logging.getLogger(__name__)

Mask = dict[int, bool]
"""Whether a channel stays, by its root in the graph."""


class EarlyBird(Strategy):
    """Train until it has settled which channels matter, cut the others away for real, and go on.

    You, Li, Xu, Fu, Wang, Chen, Baraniuk, Wang, Lin, "Drawing Early-Bird Tickets: Towards More Efficient Training of
    Deep Networks", 2020, https://arxiv.org/abs/1909.11957.

    After each epoch a mask leaves out the `share` of all channels whose batch-norm scale is least in absolute value;
    `l1` times the sum of the scales is added to the loss. When the newest mask differs from each of the `window` − 1
    before it in less than `distance` of the channels, its channels are cut, and the smaller net goes on with its
    weights and momentum on the same schedule. A channel that several layers share through an addition has the largest
    of their scales, and each layer keeps one channel at least. The paper waits as long as it takes; here the newest
    mask is taken at `latest`, so that a short training has its smaller net as well.
    """

    name = "early_bird"
    paper = "You et al., 2020, https://arxiv.org/abs/1909.11957"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "share": Knob(allowed=Range(low=0.05, high=0.9), default=0.3, meaning="of the channels that is cut"),
        "distance": Knob(
            allowed=Range(low=0.001, high=0.5), default=0.1, meaning="share of a mask in which the next may differ"
        ),
        "window": Knob(allowed=Range(low=2, high=20), default=5, meaning="masks, one an epoch, that must be alike"),
        "latest": Knob(
            allowed=Range(low=0.05, high=0.95), default=0.5, meaning="share of the epochs before the cut, at most"
        ),
        "l1": Knob(allowed=Range(low=0.0, high=0.01), default=1e-4, meaning="of the scales in the loss, until the cut"),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "weight_norm": "early_bird changes the shape of weights that weight_norm keeps as lengths and directions",
        "standardization_loss": "standardization_loss takes away the norms whose scales early_bird ranks by",
        "ssf": "early_bird changes the shape of weights whose structure ssf has frozen",
        "layer_freezing": "early_bird cuts weights that layer_freezing lets rest",
        "stochastic_depth": "early_bird gives another shape to blocks that stochastic_depth leaves out",
        "whitening": "early_bird cuts filters that whitening holds still",
    }
    share: float
    distance: float
    window: int
    latest: float
    l1: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._masks: list[Mask] = []  # the newest last; none once the net is cut
        self._is_cut = False
        self._scales: list[str] = []  # names of the batch norms' scales

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        switching_epoch(self.latest, run.epochs, name=self.name)
        graph = channel_graph(run.model, run.sample_batch().images_nchw)
        channels = len(scores(run.model, graph))
        if not channels:
            raise StrategyError(
                f"{self.name}: the model has no channel with a batch norm's scale that can be cut: "
                + ("; ".join([*graph.channels.reasons][:3]) or "it has no layer that is known")
            )
        if all(mask_of(run.model, graph, self.share).values()):
            raise StrategyError(
                f"{self.name}: share={self.share} of {channels} channels leaves none to cut; raise it, or leave the "
                "strategy out"
            )

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if self._is_cut:
            return
        graph = channel_graph(run.model, run.sample_batch().images_nchw)
        self._scales = scales(run.model, graph)
        if epoch == 0:
            return
        self._masks = [*self._masks, mask_of(run.model, graph, self.share)][-self.window :]
        away = [distance(self._masks[-1], mask) for mask in self._masks[:-1]]
        settled = len(self._masks) == self.window and max(away) < self.distance
        if settled or epoch >= switching_epoch(self.latest, run.epochs, name=self.name):
            _log.info("early_bird: cut before epoch %s; its mask %s", epoch + 1, _in_words(away, settled=settled))
            self._cut(run, graph)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        if not self._is_cut:
            self._scales = scales(run.model, channel_graph(run.model, run.sample_batch().images_nchw))

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        if self._is_cut or self.l1 == 0:
            return None
        return self.l1 * torch.cat([run.model.get_parameter(name) for name in self._scales]).abs().sum()

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return rebuild_shape(model, change)

    def state_dict(self) -> dict[str, Untyped]:
        return {"masks": self._masks, "is_cut": self._is_cut}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._masks, self._is_cut = list(state["masks"]), state["is_cut"]

    def _cut(self, run: TrainingRun, graph: ChannelGraph) -> None:
        model, before = run.model, sizes(run.model)
        counts = {root: 0 for root, stays in self._masks[-1].items() if not stays}
        carried = gather_channels(model, graph, counts, run.optimizer.state)
        check_eval_forward(model, run.sample_batch().images_nchw, doing=self.name)
        run.replace_model(model, carried, by=self.name, change={"sizes": resized(before, sizes(model))})
        self._masks, self._is_cut = [], True


def scales(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """The names of the batch norms' scales that have a channel that can be cut."""
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d) and module.affine]
    names = [f"{name}.weight".lstrip(".") for name in norms]
    return [name for name in names if any(root >= 0 for root in _roots(graph, name))]


def scores(model: nn.Module, graph: ChannelGraph) -> dict[int, float]:
    """The largest scale, in absolute value, of every channel that can be cut and has any."""
    found: dict[int, float] = {}
    for name in scales(model, graph):
        values = model.get_parameter(name).detach().abs().tolist()
        for root, value in zip(_roots(graph, name), values, strict=True):
            if root >= 0:
                found[root] = max(found.get(root, 0.0), value)
    return found


def mask_of(model: nn.Module, graph: ChannelGraph, share: float) -> Mask:
    """All but that share of the channels, those with the least scores; of each width the best one stays."""
    of_channels = scores(model, graph)
    best = {max(group, key=lambda root: of_channels.get(root, 0.0)) for group in graph.groups().values()}
    ranked = sorted(of_channels, key=lambda root: (of_channels[root], root))
    going = set(ranked[: int(share * len(ranked))]) - best
    return {root: root not in going for root in sorted(of_channels)}


def distance(one: Mask, other: Mask) -> float:
    """The share of the channels about which two masks differ (Hamming)."""
    return sum(one[root] != other[root] for root in one) / len(one)


def _roots(graph: ChannelGraph, name: str) -> list[int]:
    return graph.roots(name, 0) if name in graph.axes else []


def _in_words(away: Sequence[float], *, settled: bool) -> str:
    far = f"differs from those before it in up to {max(away):.0%} of the channels" if away else "is the first"
    return f"{'has settled: it ' if settled else 'has not settled, but it is the latest time for it: it '}{far}"
