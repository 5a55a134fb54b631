"""What stands around a trial on one rank while it trains."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import BatchLoader, Plan
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.step.precision import Precision

BESIDE_TRAINING = ("eval_time_s", "compile_time_s", "loader_start_s")


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
    times_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BESIDE_TRAINING, 0.0))  # by metric

    @contextmanager
    def timed(self, metric: str) -> Iterator[None]:
        """Add the seconds spent within to `metric`, the device's work included; kept too when something is raised."""
        begun = time.monotonic()
        try:
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        finally:
            self.times_s[metric] += time.monotonic() - begun

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
                device=self.device,
                channels_last=configuration.channels_last,
            )
            loader = make_loader(
                plan, kind=configuration.loader, workers=configuration.loader_workers, resident=self.resident
            )
            loader.start()
        return loader
