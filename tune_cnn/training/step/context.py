"""What stands around a trial on one rank while it trains."""

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from tune_cnn.training.data.class_balance import balanced_order, class_weights
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import BatchLoader, Plan
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.data.loaders.mixing import Mixing, MixingLoader
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.operations.drawn import Settings
from tune_cnn.training.data.order import epoch_order
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.step.precision import Precision

BESIDE_TRAINING = {
    "eval_time_s": Doing.EVALUATING,
    "compile_time_s": Doing.STARTING,
    "loader_start_s": Doing.STARTING,
}


@dataclass(kw_only=True)
class Seen:
    """What the warm-up saw; nothing where there was none."""

    evaluation_images: int | None = None  # of a rank's pass without gradients; None: the usual number
    cached_pct: float | None = None  # of the compiled code, that lay in the cache; None: nothing is compiled
    draws_on_host: bool = False  # a step draws from a generator of the CPU
    waits: str | None = None  # a step waits for the device: how torch said it


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialContext:
    """The job, the rank's place and hardware, the prepared images and the meters."""

    job: TrainingJob
    group: ProcessGroup
    device: torch.device
    images: ImageSets
    resident: ResidentSets
    precision: Precision
    meters: Meters
    seen: Seen = field(default_factory=Seen)
    rate_ratios: dict[str, float] = field(default_factory=dict)  # shares of the rate by parameters' names: fine-tuning
    times_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BESIDE_TRAINING, 0.0))  # by metric
    closing: ExitStack = field(default_factory=ExitStack)  # what ends with the trial, however it ends

    @contextmanager
    def timed(self, metric: str) -> Iterator[None]:
        """Add the seconds spent within to `metric`, the device's work included; kept too when something is raised."""
        begun = time.monotonic()
        try:
            with PROGRESS.doing(BESIDE_TRAINING[metric]):
                yield
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
        finally:
            self.times_s[metric] += time.monotonic() - begun

    def bring_images(self) -> None:
        """What the trial reads on the device, and nothing else, before anything of the trial lies there.

        So the same trial finds the same memory, whichever came before it.
        """
        if self.job.configuration.loader != "device":
            self.resident.clear()
            return
        with self.timed("loader_start_s"):
            parts = (self.images.train, self.images.validation)
            self.resident.keep(*parts)
            for part in parts:
                self.resident.get(part, self.device)

    @cached_property
    def class_weights_k(self) -> torch.Tensor | None:
        """What each class counts for in the training loss, on the device; None where all count alike."""
        configuration, facts = self.job.configuration, self.images.facts
        if configuration.class_weights == "none":
            return None
        weights_k = class_weights(
            np.bincount(self.images.train.labels_n, minlength=facts.num_classes),
            configuration.class_weights,
            configuration.class_weights_beta,
        )
        return torch.from_numpy(weights_k).float().to(self.device)

    def epoch_order(self, epoch: int) -> Int64:
        """The training images of an epoch, from 0, in their order, where no strategy gives another."""
        if self.draws_classes:
            return balanced_order(self.images.train.labels_n, self.job.seed, epoch)
        return epoch_order(len(self.images.train), self.job.seed, epoch)

    @property
    def draws_classes(self) -> bool:
        """Whether an epoch's images are drawn so that all classes come equally often."""
        return self.job.configuration.class_sampling == "balanced"

    def forget_warm_up(self) -> None:
        """Free what the warm-up left on the device: it would count as memory of the training."""
        if self.device.type == "cuda":
            gc.collect()
            torch._C._cuda_clearCublasWorkspaces()  # they may lie within memory that is free otherwise
            torch.cuda.empty_cache()

    def close(self) -> None:
        """End what the trial has opened: loader processes, meters. Idempotent."""
        try:
            self.closing.close()
        finally:
            self.meters.close()

    def started_loader(self) -> BatchLoader:
        """This rank's loader of the training split, its processes up."""
        configuration = self.job.configuration
        with self.timed("loader_start_s"):
            plan = Plan(
                images=self.images.train,
                facts=self.images.facts,
                batch_size=configuration.batch_size,
                rank=self.group.rank,
                ranks=self.group.ranks,
                seed=self.job.seed,
                augment=configuration.augment,
                flips=configuration.flips,
                shift=configuration.shift,
                shift_fill=configuration.shift_fill,
                settings=Settings.of(configuration),
                device=self.device,
                channels_last=configuration.channels_last,
            )
            loader = make_loader(
                plan, kind=configuration.loader, workers=configuration.loader_workers, resident=self.resident
            )
            self.closing.callback(loader.close)
            loader.start()
        mixing = Mixing.of(configuration)
        if mixing is None:
            return loader
        return MixingLoader(
            loader,
            mixing,
            seed=plan.seed,
            rank=plan.rank,
            ranks=plan.ranks,
            batch_size=plan.batch_size,
            images=len(plan.images),
            image_size=plan.facts.image_size,
            classes=plan.facts.num_classes,
            device=plan.device,
        )
