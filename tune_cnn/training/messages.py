"""What a rank is asked to train, and what it says after each epoch: plain data that crosses processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_cnn.spec import Configuration, DataSpec, ModelSpec, UserMetric


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One trial's configuration with everything around it that decides what is computed."""

    trial: int
    configuration: Configuration
    data: DataSpec
    model: ModelSpec
    metrics: Mapping[str, UserMetric] = field(default_factory=dict)  # the user's own, by name
    training: str | None = None  # the user's own generator, package.module:name
    ranks: int = 1
    gpu_share: float = 0.0  # of one device, per rank; 0: train on the CPU
    slots_per_gpu: int = 1  # trials that may share the device, each with a context of its own
    cpus_per_rank: int = 1  # compute threads are what the loader workers leave of them, at least one
    seed: int = 0  # of the weights, the order of the images and the augmentation
    split_seed: int = 0  # of the validation split: the study's seed
    deterministic: bool = False
    cache_dir: str  # decoded images of this node
    checkpoint_dir: str | None = None  # this trial's own folder or URI; None: no checkpoints
    checkpoint_every_s: float = 30.0
    stop_epoch: int | None = None  # stop here on the horizon of the schedule
    all_data: bool = False  # train on the validation split too

    @property
    def threads(self) -> int:
        """Compute threads of one rank: what its loader workers leave, at least one."""
        return max(1, self.cpus_per_rank - self.configuration.loader_workers)

    @property
    def last_epoch(self) -> int:
        horizon = self.configuration.horizon
        return min(horizon, self.stop_epoch) if self.stop_epoch is not None else horizon


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What an epoch gave, reduced over the ranks; equal on all of them."""

    epoch: int  # epochs trained so far, from 1
    metrics: Mapping[str, float]
    done: bool  # the last one
    checkpoint: str | None = None  # the newest checkpoint on disk
    system: Mapping[str, float] = field(default_factory=dict)  # by node and GPU; see meters.hardware
