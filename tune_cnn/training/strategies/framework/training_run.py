"""The training that a strategy acts on: the model, the optimizer and what may be asked of them."""

import copy
import gc
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.optim import Optimizer

from tune_cnn.spec import Configuration
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch, BatchLoader
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.data.order import turns
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.models.measure import flops_by_module, measure_unknown
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.model import built_model, laid_out, wrapped
from tune_cnn.training.step.optimizers.making import carry_state, make_optimizer
from tune_cnn.training.step.precision import backward_unscaled
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.strategies.framework import own_batches
from tune_cnn.untyped import Plain, Untyped

# One change of the model's structure: plain values alone (str, int, float, bool, None, lists, dicts of them by str),
# as it stands in checkpoints and beside exported weights. The run adds "strategy" and "epoch". With "exported": False a
# change is left out of an export: it only takes back what the strategy did in `prepare`.
Change = Mapping[str, Plain]
# The optimizer's state of parameters that are new: {"momentum_buffer": …}, {"exp_avg": …, "exp_avg_sq": …, "step": …}.
CarriedState = Mapping[nn.Parameter, Mapping[str, Untyped]]


class TrainingRun:
    """One trial on one rank, as strategies see it."""

    def __init__(self, context: TrialContext, model: nn.Module, *, sample_images: int | None = None) -> None:
        self.model = model  # bare: neither compiled nor data-parallel
        self.epoch = 0  # from 0: the one that is trained or about to be
        self.batch_size = context.job.configuration.batch_size  # over all ranks, as it is now
        self.rebuilt = 0  # how often model and optimizer have been made anew
        self.learning_rate_ratio = 1.0  # on what the schedule gives
        self.changes: list[Change] = []  # of the model's structure, from the factory's model on
        self.strategies: Mapping[str, Untyped] = {}  # all that are on, by name
        self.step = 0  # of the epoch, from 0: the one that is taken or about to be
        # What this rank's work came to beyond whole training passes of its batches; below 0 where some was left out.
        self.gflops_beside = 0.0
        self._passes: dict[str, int] = {}  # images by the kind of pass and their size, of this epoch
        self._turns: list[Int64] = []  # the images of each step, on this rank
        self._context = context
        self._sample_images = sample_images
        self._train_state: TrainState | None = None
        self._loader: BatchLoader | None = None
        self._some_unused = False
        self._facts: dict[tuple[int, int, tuple[int, int]], ModelFacts] = {}
        self._flops: dict[tuple[int, int, tuple[int, int]], dict[str, dict[Untyped, float]]] = {}

    def begin(self, train_state: TrainState, loader: BatchLoader, *, some_unused: bool) -> None:
        """The optimizer and the loader are there: from here on a replaced model is wrapped and optimised at once."""
        self._train_state, self._loader, self._some_unused = train_state, loader, some_unused

    @property
    def optimizer(self) -> Optimizer:
        """Its `state[parameter]` is what `replace_model` wants carried. There is none yet in `prepare`."""
        assert self._train_state is not None, "prepare comes before the optimizer"
        return self._train_state.optimizer

    @property
    def device(self) -> torch.device:
        return self._context.device

    @property
    def configuration(self) -> Configuration:
        return self._context.job.configuration

    @property
    def facts(self) -> DataFacts:
        """Of the images: num_classes, in_channels, image_size, train_images, mean, std …"""
        return self._context.images.facts

    @property
    def train_images(self) -> ImageSet:
        """The training split, for strategies that choose among the images."""
        return self._context.images.train

    @property
    def group(self) -> ProcessGroup:
        """rank, ranks, share(rank 0's value), gather(every rank's), add_up(tensor), in place."""
        return self._context.group

    @property
    def seed(self) -> int:
        return self._context.job.seed

    @property
    def epochs(self) -> int:
        """The horizon of the schedule."""
        return self.configuration.horizon

    @property
    def last_epoch(self) -> int:
        """Epochs that will be trained: the horizon, or an export's stop epoch."""
        return self._context.job.last_epoch

    @property
    def pretrained(self) -> bool:
        """Whether the model has begun with weights that are worth keeping."""
        return self._context.job.model.weights is not None

    @property
    def steps_per_epoch(self) -> int:
        assert self._loader is not None, "prepare comes before the loader"
        return self._loader.steps

    def begin_steps(self, positions_n: Int64, first: int) -> None:
        """An epoch's steps are taken on these images in this order, from the step number `first` on."""
        self.step = first
        group = self.group
        self._turns = [positions_n[mine] for mine in turns(len(positions_n), self.batch_size, group.rank, group.ranks)]

    @property
    def batch_positions_n(self) -> Int64:
        """Where this step's images, those of this rank, stand in the training split."""
        return self._turns[self.step]

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic of a training step."""
        return self._context.precision.autocast(self.device)

    def backward(self, batch: Batch) -> Tensor:
        """The loss of a batch, and its gradients, averaged over the ranks, in the place of those that were there."""
        state = self._train_state
        assert state is not None, "prepare comes before the optimizer"
        state.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits = state.model(batch.images_nchw)
        loss = state.loss_of(logits, batch.labels_n)
        self.backward_from(loss)
        return loss.detach()

    def backward_from(self, loss: Tensor) -> None:
        """Gradients of a loss, of this rank alone where it isn't of the wrapped model, by the steps' loss scale."""
        assert self._train_state is not None, "prepare comes before the optimizer"
        backward_unscaled(self._train_state.scaler, loss, self.model.parameters())

    def count_pass(self, images_nchw: Tensor, *, backward: bool = False) -> None:
        """These images have gone through the model beside the steps, whose arithmetic is counted without asking."""
        own_batches.count_pass(self._passes, images_nchw, backward=backward)

    def settle_passes(self) -> None:
        """After an epoch, off the clock: what was counted becomes arithmetic of the model as it is."""
        self.gflops_beside += own_batches.gflops_of(self._passes, self.measured)
        self._passes = {}

    def new_shapes(self) -> None:
        """Compiled code is made anew: for batches of another shape, from `start_epoch` alone, or another model."""
        if self.configuration.compile:
            torch._dynamo.reset()  # it compiles one code for 8 shapes at most, then runs it uncompiled without a word

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks."""
        return self.group.add_up(values.clone())

    def generator(self, name: str, epoch: int) -> torch.Generator:
        """Random numbers of the CPU that depend on the trial's seed, the epoch and `name` alone: equal on all ranks."""
        entropy = np.random.SeedSequence((self.seed, epoch, *name.encode()))
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))

    def epoch_order(self) -> Int64:
        """Positions in the training split, as this epoch's steps would take them if no strategy chose."""
        return self._context.epoch_order(self.epoch)

    def sample_batch(self) -> Batch:
        """The same training images on every rank, as many as its share of a batch, not augmented, on the device."""
        return self.plain_batch(own_batches.sampled(self._context, self.batch_size, self._sample_images))

    def plain_batch(self, positions_n: Int64) -> Batch:
        """These training images, normalised, not augmented, on the device."""
        return own_batches.plain_batch(self._context, positions_n)

    def mixed(self, batch: Batch, draw: int = 0) -> Batch:
        """These images mixed as those of steps are; equal on all ranks. `draw` tells the batches of an epoch apart."""
        return own_batches.mixed_as_in_steps(self._context, batch, self.epoch, draw)

    def loss_of(self, logits: Tensor, labels_n: Tensor, *, reduction: str = "mean") -> Tensor:
        """What the steps learn from, without penalties: in nat, over the images, or of each (`reduction="none"`)."""
        assert self._train_state is not None, "prepare comes before the loss"
        return self._train_state.loss_of(logits, labels_n, reduction=reduction)

    def build_model(self, arguments: Mapping[str, Plain]) -> nn.Module:
        """The study's model on the device, with other arguments of its factory than the configuration's."""
        return built_model(self._context, arguments)

    def replace_model(self, model: nn.Module, carried: CarriedState, *, by: str, change: Change) -> None:
        """Go on with this model: wraps it for compile and DDP anew, rebuilds the optimizer, records the change.

        Parameters (objects) that the old model had too keep their optimizer state; `carried` gives that of new ones;
        any other starts without one. `model` may be the old object, changed in place. In `prepare` nothing is wrapped
        yet and `carried` is empty. `by` is the strategy's name.
        """
        self.changes.append(json.loads(json.dumps({"strategy": by, "epoch": self.epoch, **change})))
        self._go_on_with(model, carried)

    def begin_anew(self) -> None:
        """Other parameters learn from here on: wraps the model anew, with an optimizer that remembers nothing."""
        self.optimizer.state.clear()
        self._go_on_with(self.model, {})

    def resize_batch(self, batch_size: int, *, learning_rate_ratio: float) -> None:
        """From `start_epoch` alone: from this epoch on, batches of this size over all ranks, a multiple of the ranks.

        `learning_rate_ratio` is on the rate that the schedule gives, and replaces the one set before.
        """
        assert self._loader is not None, "prepare comes before the loader"
        self._loader.resize(batch_size)
        if batch_size != self.batch_size:
            self.new_shapes()
        self.batch_size, self.learning_rate_ratio = batch_size, learning_rate_ratio

    def measured(self, image_size: tuple[int, int]) -> ModelFacts:
        """What the model as it is now costs for an image of this size; measured once, off the clock."""
        key = (len(self.changes), self.rebuilt, image_size)
        if key not in self._facts:
            model, facts = copy.deepcopy(self.model), self.facts
            with torch.enable_grad():  # whoever asks may want none
                self._facts[key] = measure_unknown(
                    model, num_classes=facts.num_classes, in_channels=facts.in_channels, image_size=image_size
                )
        return self._facts[key]

    def inference_gflops(self, facts: ModelFacts) -> float:
        """Of an image as it is evaluated: at its size then, and with its mirror. facts: at the images' own size."""
        view = View.of(self.configuration)
        if view is None:
            return facts.inference_gflops
        size = view.size(self.facts.image_size)
        gflops = (facts if size == self.facts.image_size else self.measured(size)).inference_gflops
        return 2 * gflops if view.flip else gflops

    def flops_by_module(self, image_size: tuple[int, int]) -> Mapping[str, Mapping[Untyped, float]]:
        """Of a training pass of one image of this size: by module and by torch's operation; off the clock alone."""
        key = (len(self.changes), self.rebuilt, image_size)
        if key not in self._flops:
            self._flops[key] = flops_by_module(self.model, in_channels=self.facts.in_channels, image_size=image_size)
        return self._flops[key]

    def state_dict(self) -> dict[str, Untyped]:
        """What a checkpoint needs to give the model its structure again, before its values are loaded."""
        return {
            "changes": self.changes,
            "batch_size": self.batch_size,
            "learning_rate_ratio": self.learning_rate_ratio,
            "gflops_beside": self.gflops_beside,
            "passes": self._passes,
            "own": {name: strategy.state_dict() for name, strategy in self.strategies.items()},
        }

    def load_state_dict(self, state: Mapping[str, Untyped]) -> None:
        """Make a freshly prepared run what it was: its structure, its batch, what each strategy remembers."""
        prepared = len(self.changes)
        assert state["changes"][:prepared] == self.changes, "prepare must do the same again"
        model = self.model
        for change in state["changes"][prepared:]:
            model = self.strategies[change["strategy"]].rebuild(model, change)
        self.changes = list(state["changes"])
        if len(self.changes) > prepared:
            self._go_on_with(model, {})
        if state["batch_size"] != self.batch_size:
            self.resize_batch(state["batch_size"], learning_rate_ratio=state["learning_rate_ratio"])
        self.learning_rate_ratio = state["learning_rate_ratio"]
        self.gflops_beside, self._passes = state["gflops_beside"], dict(state["passes"])
        for name, own in state["own"].items():
            self.strategies[name].load_state_dict(self, own)

    def _go_on_with(self, model: nn.Module, carried: CarriedState) -> None:
        self.model = laid_out(model, self._context)
        train_state = self._train_state
        if train_state is None:
            return
        self.rebuilt += 1
        former: Mapping[Untyped, Untyped] = train_state.optimizer.state
        model.zero_grad(set_to_none=True)  # DDP's gradients lie in its own buckets
        train_state.model = model
        if self.group.ranks > 1:
            gc.collect()  # while the old DDP lives, its hooks would reduce the parameters that are kept
        self.new_shapes()
        train_state.optimizer = make_optimizer(  # each step sets its rate
            model, self.configuration, learning_rate=1.0, rate_ratios=self._context.rate_ratios
        )
        carry_state(train_state.optimizer, {**{p: state for p, state in former.items() if state}, **carried})
        train_state.model = wrapped(model, self._context, some_unused=self._some_unused)
