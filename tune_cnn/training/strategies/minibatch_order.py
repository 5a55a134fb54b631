"""Mini-batch selection (Lasky et al., "What's the Best Mini-batch?").

Which mini-batches lead to the full gradient best: images are ranked by what they look like, the ranking is cut into
mini-batches, and those of some part of it are left out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from tune_cnn.errors import ModelError, SpecError, StrategyError, first_line, nearest
from tune_cnn.spec import Choice, Range, StudySpec
from tune_cnn.spec.calls import find_call
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.order import steps_per_epoch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.image_scores.ranking import find_metric, perceptual, ranked
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped

KEY = "strategies.minibatch_order."
LOWER, MIDDLE, UPPER, EXTREMES = "lower", "middle", "upper", "extremes"  # parts of a ranking
# What the paper found worth leaving out in the first phase. In the later ones it is the extremes, for all metrics.
FIRST_PHASE = {"intensity": LOWER, "perceptual": LOWER, "colour": MIDDLE, "edges": EXTREMES}
BACKBONES = (
    "alexnet",
    "squeezenet1_1",
    "vgg11",
    "vgg16",
    "resnet18",
    "resnet50",
    "mobilenet_v3_small",
    "convnext_tiny",
)


class MinibatchOrder(Strategy):
    """Rank the training images and leave out the mini-batches of a part of the ranking.

    Lasky et al., "What's the Best Mini-batch?". Metrics: the sum of the pixels, the mean colour in HSV, the sum of a
    Canny edge map, or the distance of deep features to those of the mean image. The paper compares how well single
    mini-batches approximate the full gradient; that training on a selection of them gets further in the same time is
    what a study with this strategy measures. Ranking is part of the training time.

    `drop_extremes` leaves out both ends of the ranking, `drop_lower`, `drop_middle` and `drop_upper` that part of it
    (`tune-cnn gradients` shows which one lies far from the full gradient). `phase_policy` follows the paper's findings
    phase by phase, a phase being a stretch of epochs with one learning rate (`schedule: step`): at first intensity and
    perceptual leave out the lower end, colour the middle, edges the extremes; later all leave out the extremes.
    """

    name = "minibatch_order"
    paper = 'Lasky et al., "What\'s the Best Mini-batch?"'
    saves = Saves.DATA
    sites = frozenset({Site.SAMPLES})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "metric": Knob(
            allowed=Choice(values=("intensity", "colour", "edges", "perceptual")),
            default="intensity",
            meaning="what images are ranked by; a function of yours gets uint8 images (n, c, h, w) and gives n numbers",
            or_call=True,
        ),
        "policy": Knob(
            allowed=Choice(values=(*(f"drop_{part}" for part in (EXTREMES, LOWER, MIDDLE, UPPER)), "phase_policy")),
            default="drop_extremes",
            meaning="which part of the ranking is left out, and when",
        ),
        "drop": Knob(allowed=Range(low=0.01, high=0.9), default=0.2, meaning="share of the mini-batches left out"),
        "batches": Knob(
            allowed=Choice(values=("ranked", "mixed")),
            default="ranked",
            meaning="mini-batches as cut from the ranking, or the images that are left, in any order",
        ),
        "backbone": Knob(
            allowed=Choice(values=BACKBONES),
            default="alexnet",
            meaning="torchvision's network for `perceptual`; any other of its convolutional ones will do too",
            or_name="another convolutional network of torchvision",
        ),
        "weights": Knob(
            allowed=Choice(values=("pretrained", "random")), default="pretrained", meaning="of the backbone"
        ),
    }

    metric: str
    policy: str
    drop: float
    batches: str
    backbone: str
    weights: str

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._ranking_n: Int64 | None = None

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        metrics = _values(spec, "metric")
        if "colour" in metrics and data.in_channels != 3:
            raise SpecError(
                f"space.{KEY}metric: colour needs images of three channels, {data.name} has {data.in_channels}; "
                "leave it out"
            )
        if "phase_policy" in _values(spec, "policy"):
            _check_phases(spec, metrics)
        for name in metrics:
            if ":" in name:
                find_call(name, where=f"space.{KEY}metric")
        if "perceptual" in metrics:
            for backbone in _values(spec, "backbone"):
                _check_backbone(backbone, data, pretrained="pretrained" in _values(spec, "weights"))

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        """Rank once, at the first epoch; on the clock, as it is work that this strategy makes."""
        if self._ranking_n is not None:
            return
        ranking_n = None
        if run.group.rank == 0:  # the others take rank 0's: devices may differ in the last bit
            threads = torch.get_num_threads()
            find = find_metric(
                self.metric,
                run.train_images,
                run.device,
                threads,
                network=self.backbone,
                pretrained=self.weights == "pretrained",
            )
            ranking_n = ranked(run.train_images, find, run.device, threads)
        self._ranking_n = run.group.share(ranking_n)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The ranking is in the state."""

    def order(self, run: TrainingRun, epoch: int, positions_n: Int64) -> Int64:
        assert self._ranking_n is not None, "start_epoch comes first"
        batches = cut(self._ranking_n, run.batch_size, run.group.ranks)
        part = self.policy.removeprefix("drop_")
        if self.policy == "phase_policy":
            part = FIRST_PHASE[self.metric] if phase(epoch, run.epochs) == 1 else EXTREMES
        kept = without(batches, part, self.drop)
        if len(kept) == len(batches):
            raise StrategyError(
                f"minibatch_order: drop={self.drop:g} of {len(batches)} mini-batches of {run.batch_size} images is "
                "less than one: nothing would be left out; raise it, or take smaller batches"
            )
        if self.batches == "mixed":
            return positions_n[np.isin(positions_n, np.concatenate(kept))]
        return np.concatenate(_shuffled(kept, run.batch_size, run.generator(self.name, epoch)))

    def state_dict(self) -> dict[str, Untyped]:
        return {} if self._ranking_n is None else {"ranking": torch.from_numpy(self._ranking_n)}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._ranking_n = state["ranking"].numpy() if "ranking" in state else None


def phase(epoch: int, epochs: int) -> int:
    """1, 2 or 3: the stretches of one learning rate of `schedule: step`, which drops at 1/2 and 3/4 of the horizon."""
    return 1 + (2 * epoch >= epochs) + (4 * epoch >= 3 * epochs)


def cut(ranking_n: Int64, batch_size: int, ranks: int) -> list[Int64]:
    """A ranking as mini-batches; the last one holds what is left, or what joins it as at any epoch's end."""
    steps = steps_per_epoch(len(ranking_n), batch_size, ranks)
    return np.split(ranking_n, range(batch_size, steps * batch_size, batch_size))


def without(batches: list[Int64], part: str, share: float) -> list[Int64]:
    """The mini-batches that stay when this share of them, rounded, is taken from that part; at least one stays."""
    count = min(len(batches) - 1, math.floor(share * len(batches) + 0.5))
    kept = len(batches) - count
    if part == LOWER:
        return batches[count:]
    if part == UPPER:
        return batches[:kept]
    if part == MIDDLE:
        return [*batches[: kept - kept // 2], *batches[len(batches) - kept // 2 :]]
    return batches[count // 2 : count // 2 + kept]


def _shuffled(batches: list[Int64], batch_size: int, generator: torch.Generator) -> list[Int64]:
    """In any order; one of another size comes last, or it would shift the borders of those after it."""
    turns = torch.randperm(len(batches), generator=generator).tolist()
    return sorted((batches[turn] for turn in turns), key=lambda batch: len(batch) != batch_size)


def _values(spec: StudySpec, knob: str) -> Sequence[Untyped]:
    return spec.dimension(KEY + knob).values


def _check_backbone(name: str, data: DataFacts, *, pretrained: bool) -> None:
    """It exists, its weights can be had, and it sees something in images of this size."""
    networks = perceptual("torchvision_names")()
    if name not in networks:
        hint = nearest(name, networks)
        raise SpecError(f"space.{KEY}backbone: torchvision has no network {name!r}{hint}")
    try:
        network = perceptual("backbone")(name, pretrained=pretrained)
    except ModelError as error:
        raise SpecError(f"space.{KEY}backbone: {error} Or set weights: random.") from None
    try:
        with torch.inference_mode():
            why = "" if perceptual("features")(network, torch.zeros(2, *data.image_shape)) else "it has no maps"
    except Exception as error:  # what torchvision's network raises on what it can't take is its own affair
        why = first_line(error)
    if why:
        raise SpecError(
            f"space.{KEY}backbone: {name} gives no features of images of {data.image_shape}: {why}; "
            f"choose {', '.join(BACKBONES)}"
        )


def _check_phases(spec: StudySpec, metrics: Sequence[Untyped]) -> None:
    others = [schedule for schedule in spec.dimension("schedule").values if schedule != "step"]
    if others:
        raise SpecError(
            f"space.{KEY}policy: phase_policy needs `schedule: step`, whose stretches of one learning rate are its "
            f"phases; got {', '.join(map(str, others))}"
        )
    own = [name for name in metrics if name not in FIRST_PHASE]
    if own:
        raise SpecError(
            f"space.{KEY}policy: phase_policy knows what was found for {', '.join(FIRST_PHASE)} alone, got the metric "
            f"{own[0]}; use drop_extremes for it"
        )
