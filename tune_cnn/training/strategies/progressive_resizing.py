"""Progressive resizing (Howard, "Now anyone can train Imagenet in 18 minutes", 2018): small images first."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from tune_cnn.spec import Choice, Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.small_images import check_size, scaled
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs, switching_epoch
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.surgery.kernels import resize_images


class ProgressiveResizing(Strategy):
    """Train on small images first and let their side grow to the full one; evaluate at full side.

    Howard, "Now anyone can train Imagenet in 18 minutes", 2018, and the recipes of FFCV (160 to 192 pixels) and
    MosaicML. The first epochs see images of `start` of the side, the last ones, from `until` on, the full side; between
    them the side grows in as many steps as `steps` says, or (0) by the epoch. Convolutions and batch normalisation are
    the same throughout: a step on half the side costs about a quarter.
    """

    name = "progressive_resizing"
    paper = 'Howard, 2018, "Now anyone can train Imagenet in 18 minutes"'
    saves = Saves.TIME
    sites = frozenset({Site.RESOLUTION})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "start": Knob(allowed=Range(low=0.1, high=0.95), default=0.5, meaning="share of the side to begin with"),
        "until": Knob(allowed=Range(low=0.05, high=0.95), default=0.7, meaning="share of the epochs on smaller images"),
        "steps": Knob(
            allowed=Choice(values=(0, 1, 2, 3, 4, 6, 8)),
            default=0,
            meaning="sizes before the full one: 1 stays at `start`; 0: another each epoch",
        ),
    }
    decisive = frozenset({"start"})

    start: float
    until: float
    steps: int

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        switching_epoch(self.until, run.epochs, name=self.name)
        check_size(run, scaled(run.facts.image_size, self.start), knob="start", name=self.name)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch and self._size(run, epoch) != self._size(run, epoch - 1):
            run.new_shapes()

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The side is the epoch's."""

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        size = self._size(run, run.epoch)
        return Batch(at_size(batch.images_nchw, size), batch.labels_n)

    def _size(self, run: TrainingRun, epoch: int) -> tuple[int, int]:
        full_from = switching_epoch(self.until, run.epochs, name=self.name)
        return scaled(run.facts.image_size, share_of_side(epoch, full_from, self.start, self.steps))


def share_of_side(epoch: int, full_from: int, start: float, steps: int) -> float:
    """Of the full side, in epoch number `epoch` from 0; from epoch `full_from` on it is full.

    steps: sizes that come before, each for as many epochs, evenly spread from `start` on; 0: as many as epochs.
    """
    sizes = min(steps or full_from, full_from)
    at = min(epoch, full_from) * sizes // full_from
    return start + (1 - start) * at / sizes


def at_size(images_nchw: Tensor, size: tuple[int, int]) -> Tensor:
    return images_nchw if tuple(images_nchw.shape[2:]) == size else resize_images(images_nchw, size)
