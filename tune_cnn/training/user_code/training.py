"""The user's own training: a generator that is handed its rank and yields the metrics of each epoch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import BatchLoader
from tune_cnn.training.data.loaders.evaluate import EvaluationLoader
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.process.seeding import seed_generators
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluation_loader
from tune_cnn.training.step.model import built_model, laid_out
from tune_cnn.training.user_code.metrics import number
from tune_cnn.untyped import Plain, Untyped

STEP_METRICS = ("step_time_ms", "images_per_s", "data_wait_s")  # known only where the generator uses the meters


class UserCheckpoint:
    """The generator's way to survive a restart: hand over its state before each yield, take it back at the start."""

    def __init__(self) -> None:
        self.saved: Mapping[str, Untyped] | None = None
        self._loaded: Mapping[str, Untyped] | None = None

    def save(self, state: Mapping[str, Untyped]) -> None:
        """What `load` is to give after a restart: tensors, numbers, strings and containers of them.

        Call it before the yield of the epoch that the state stands for; it is written when one is due, from rank 0.
        Nothing is copied before then. An epoch without a call can't be resumed at.
        """
        if not isinstance(state, Mapping):
            raise TrialError(f"checkpoint.save: needs a mapping, got {type(state).__name__}")
        self.saved = state

    def load(self) -> Mapping[str, Untyped] | None:
        """The state to go on from, tensors on the CPU, after `Rank.first_epoch` epochs; None at a first start."""
        return self._loaded

    def offer(self, state: Mapping[str, Untyped]) -> None:
        self._loaded = state


@dataclass(frozen=True, kw_only=True, eq=False)
class Rank:
    """What the user's generator is handed: one process of the trial and what belongs to it.

    With several ranks `torch.distributed` is initialised, and each rank runs the generator with its own share of the
    images. The generator yields once an epoch, from `first_epoch` up to `configuration.epochs`.

    Time: everything that happens between two yields counts as training, unless the generator uses
    `with rank.meters.training():` even once; from then on only what is inside such stretches has ever counted, and
    `rank.meters.watch(batches)` and `.step(images)` fill in data_wait_s, step_time_ms and images_per_s.
    A metric that the generator yields itself goes before the one measured.

    Random numbers: the global generators are seeded before each epoch from seed, epoch and rank, so a model that the
    generator makes by itself must be made equal on all ranks: by `make`, or by sharing rank 0's weights.
    """

    rank: int
    ranks: int
    device: torch.device
    configuration: Configuration
    arguments: Mapping[str, Plain]  # `training.<argument>` of the space
    facts: DataFacts
    train: BatchLoader  # started; .steps, .epoch(number) -> batches (images_nchw, labels_n) on the device
    validation: EvaluationLoader  # this rank's share; may be gone through again and again
    meters: Meters
    checkpoint: UserCheckpoint
    first_epoch: int
    autocast: Callable[[], Untyped]  # a context of the configuration's precision
    build_model: Callable[[], nn.Module]  # the study's model on the device, equal on all ranks; also tracked
    make: Callable[[Callable[[], nn.Module]], nn.Module]  # the same of a model that a function of your own makes
    track: Callable[[nn.Module], nn.Module]  # say which module's weights are to be saved and tested


class UserTraining:
    """Advances the user's generator one epoch at a time and checks what it yields."""

    def __init__(self, context: TrialContext, function: Callable[[Rank], Untyped]) -> None:
        self._name = f"training {context.job.training}"
        self._context = context
        self._function = function
        self._checkpoint = UserCheckpoint()
        self._own_meters = Meters(context.device, gpu_share=context.job.gpu_share)
        self._own_meters.begin()
        self._loader = context.started_loader()
        self._generator: Iterator[Untyped] | None = None
        self.model: nn.Module | None = None

    def train_epoch(self, epoch: int, _leave: Callable[[int, int], bool]) -> dict[str, float]:
        """Go on to the generator's next yield: this rank's metrics, to be reduced.

        _leave: never asked, as the generator's steps are its own; it is interrupted and resumed between epochs alone.
        """
        around = self._context.meters
        for meters in self.meters:
            meters.epoch()
        self._checkpoint.saved = None  # belongs to an earlier epoch
        with trial_faults(self._name), PROGRESS.doing(Doing.USERS_TRAINING), around.training():
            if self._generator is None:
                self._generator = self._start(epoch)
            try:
                yielded = next(self._generator)
            except StopIteration:
                raise TrialError(
                    f"{self._name}: must yield once for each of {self._context.job.configuration.epochs} epochs, "
                    f"but ended after {epoch}"
                ) from None
        return checked_metrics(yielded, self._name)

    @property
    def meters(self) -> tuple[Meters, ...]:
        return (self._context.meters, self._own_meters)

    def read_meters(self) -> dict[str, float]:
        """What the generator measured by stretches of its own, or else what was measured around it."""
        own = self._own_meters.read()
        if own["train_time_s"] > 0:
            return own
        return {k: v for k, v in self._context.meters.read().items() if k not in STEP_METRICS}

    def state(self) -> dict[str, Untyped] | None:
        """None where the generator hasn't handed over a state for this epoch."""
        return dict(self._checkpoint.saved) if self._checkpoint.saved is not None else None

    def state_of_rank(self) -> dict[str, Untyped]:
        """Nothing: rank 0's state is that of all."""
        return {}

    def load_state(self, state: Mapping[str, Untyped], _of_rank: Mapping[str, Untyped]) -> None:
        self._checkpoint.offer(state)

    def close(self) -> None:
        close = getattr(self._generator, "close", None)
        if close is not None:
            with trial_faults(self._name):
                close()
        self._own_meters.close()

    def _start(self, first_epoch: int) -> Iterator[Untyped]:
        context = self._context
        configuration = context.job.configuration
        rank = Rank(
            rank=context.group.rank,
            ranks=context.group.ranks,
            device=context.device,
            configuration=configuration,
            arguments=configuration.training,
            facts=context.images.facts,
            train=self._loader,
            validation=evaluation_loader(context, context.images.validation),
            meters=self._own_meters,
            checkpoint=self._checkpoint,
            first_epoch=first_epoch,
            autocast=partial(context.precision.autocast, context.device),
            build_model=partial(self._make, partial(built_model, context), first_epoch),
            make=partial(self._make, epoch=first_epoch),
            track=self._track,
        )
        generator = self._function(rank)
        if not isinstance(generator, Iterator):
            raise TrialError(
                f"{self._name}: must be a generator function, one with `yield`, but it returned a "
                f"{type(generator).__name__}"
            )
        return generator

    def _make(self, factory: Callable[[], nn.Module], epoch: int) -> nn.Module:
        context = self._context
        seed_generators(context.job.seed)  # of the weights: equal on all ranks
        model = self._track(factory())
        seed_generators(context.job.seed, epoch, context.group.rank)
        return laid_out(model.to(context.device), context)

    def _track(self, model: nn.Module) -> nn.Module:
        if not isinstance(model, nn.Module):
            raise TrialError(f"{self._name}: track needs an nn.Module, got {type(model).__name__}")
        self.model = model
        return model


def checked_metrics(yielded: object, name: str) -> dict[str, float]:
    """The yielded mapping as plain finite numbers by name."""
    if not isinstance(yielded, Mapping):
        raise TrialError(f"{name}: must yield a mapping of metrics, got {type(yielded).__name__}")
    strange = [key for key in yielded if not isinstance(key, str)]
    if strange:
        raise TrialError(f"{name}: a metric's name is a string, got {strange[0]!r}")
    return {key: number(value, f"{name}: metric {key!r}") for key, value in yielded.items()}
