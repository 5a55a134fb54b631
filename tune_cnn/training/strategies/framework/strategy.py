"""What a strategy is: a card, knobs, and hooks into training that do nothing unless it says otherwise."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from tune_cnn.spec import StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site, StrategyCard
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.untyped import Untyped


class Strategy:
    """One method. Hooks are called on every rank alike, those of all strategies that are on in `Site`'s order.

    What a rank decides, every rank must decide: from the configuration, the model, `run.generator`, or from what is
    measured and then reduced over `run.group`.
    """

    name: ClassVar[str]  # that of its file
    paper: ClassVar[str]  # authors, year, link
    saves: ClassVar[Saves]
    sites: ClassVar[frozenset[Site]]
    knobs: ClassVar[Mapping[str, Knob]] = {}
    needs: ClassVar[frozenset[str]] = frozenset()
    forbids: ClassVar[Mapping[str, str]] = {}  # names and reasons; sites say the rest
    follows: ClassVar[frozenset[str]] = frozenset()  # may be on beside these though they share a site
    # Whether each step does the same work on the same tensors, so that it can be recorded and replayed: `penalty` and
    # `after_backward` draw and decide nothing on the CPU, and every epoch's shapes are the first one's. (`batch` and
    # `after_step` stand outside the recording; a replaced model is recorded anew.)
    capturable: ClassVar[bool] = False
    # Whether there are steps in which some parameters get no gradient.
    leaves_unused: ClassVar[bool] = False
    # Knobs on which it depends, together with the model's arguments, whether it can act: all are tried before a search.
    decisive: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **knobs: object) -> None:
        """Every knob becomes an attribute; one not given has its default."""
        unknown = set(knobs) - set(self.knobs)
        assert not unknown, f"{self.name} has no knob {', '.join(sorted(unknown))}"
        for name, knob in self.knobs.items():
            setattr(self, name, knobs.get(name, knob.default))

    @classmethod
    def card(cls) -> StrategyCard:
        return StrategyCard(
            name=cls.name,
            paper=cls.paper,
            summary=(cls.__doc__ or "").strip().partition("\n")[0],
            saves=cls.saves,
            sites=cls.sites,
            knobs=cls.knobs,
            needs=cls.needs,
            forbids=cls.forbids,
            follows=cls.follows,
        )

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        """Before a search, on a node that has the images: SpecError where no trial, or not every one, could use it."""

    def prepare(self, run: TrainingRun) -> None:
        """Before the optimizer exists: `run.model` may be changed in place or replaced.

        Off the clock, so what takes longer than a step or two belongs to the first `start_epoch`. Called anew when a
        trial is resumed, and must do the same then.
        """

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        """At the start of epoch number `epoch`, from 0; on the clock. Here the model may change its shape."""

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """In the place of `start_epoch` where a training goes on within epoch number `epoch`; off the clock.

        Make again what `start_epoch` has made and neither `state_dict` nor a change tells of. The model has its shape
        and its values. A strategy that has a `start_epoch` and not this one is trained from checkpoints between epochs
        alone.
        """

    def order(self, run: TrainingRun, epoch: int, positions_n: Int64) -> Int64:
        """The epoch's training images in the order in which they are learned from, fewer where some are left out.

        Positions in the training split, of the images of all ranks; after `start_epoch`, on the clock.
        """
        return positions_n

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        """A step's images and labels as the model is to see them, before each step."""
        return batch

    def joined(self, run: TrainingRun, losses_n: Tensor) -> Tensor:
        """The step's cross-entropy, of that of its images: their mean, unless they weigh differently."""
        return losses_n.mean()

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        """A scalar to add to this step's cross-entropy `loss`; None for nothing."""
        return None

    def after_backward(self, run: TrainingRun) -> None:
        """Between backward and step: gradients are averaged over the ranks, unscaled, not yet clipped."""

    def after_step(self, run: TrainingRun) -> None:
        """After the optimizer's step."""

    def end_epoch(self, run: TrainingRun) -> None:
        """After the last step of an epoch; on the clock. What ranks have seen apart becomes one here."""

    def evaluated(self, run: TrainingRun, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the model is to hold where it is evaluated and exported; after an epoch, on the clock.

        values: the model's own state by name, or what a strategy before has made of it; not to be changed in place.
        Training goes on with the model's own; after its last epoch the model holds these for good.
        """
        return values

    def metrics(self, run: TrainingRun) -> Mapping[str, float]:
        """What it tells of the training so far, by names of `tune_cnn.metrics`; after each epoch, off the clock.

        Where its steps were no whole training passes, this is the place to correct `run.gflops_beside`.
        """
        return {}

    def finish(self, run: TrainingRun) -> None:
        """After the last step of the last epoch, before its evaluation; on the clock."""

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        """The structure that a recorded change of this strategy makes of a model; values are loaded afterwards.

        Called with every change that it gave to `run.replace_model`, in their order: when a trial is resumed, and to
        build the net that a finished training has written weights of. There the knobs have their defaults: the change
        says all that is needed.
        """
        raise AssertionError(f"{self.name} records changes and says nothing of how to rebuild them")

    def state_dict(self) -> dict[str, Untyped]:
        """What must outlive a resume beside the knobs: plain values and tensors, between epochs equal on all ranks."""
        return {}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        """Take up a former state. `run.model` has its former shape again, not yet its former values."""
