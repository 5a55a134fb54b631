"""What crosses processes, as plain data and without torch: jobs, what came of them, and what a node was found to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tune_cnn.spec import Configuration, DataSpec, ModelSpec, Prices, UserMetric
from tune_cnn.spec.costs import Cost
from tune_cnn.spec.strategies import Cards
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One trial's configuration with everything around it that decides what is computed."""

    trial: int
    configuration: Configuration
    data: DataSpec
    model: ModelSpec
    metrics: Mapping[str, UserMetric] = field(default_factory=dict)  # the user's own, by name
    prices: Prices | None = None  # of energy and hardware, where the study reckons with them
    training: str | None = None  # the user's own generator, package.module:name
    ranks: int = 1
    gpu_share: float = 0.0  # of one device, per rank; 0: train on the CPU
    slots_per_gpu: int = 1  # trials that may share the device, each with a context of its own
    power_limit_w: float | None = None  # at which its GPUs must stand; None: whatever they have
    context_mib: float | None = None  # of such a context, as the inspection measured it; None: it could not
    cpus_per_rank: int = 1  # compute threads are what the loader workers leave of them, at least one
    seed: int = 0  # of the weights, the order of the images and the augmentation
    split_seed: int = 0  # of the validation split: the study's seed
    data_key: str | None = None  # of the images that the study decided on; None: whatever is found counts
    deterministic: bool = False
    capture_steps: bool = True  # on a GPU, where that can be
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


@dataclass(frozen=True, kw_only=True)
class LeftEpoch:
    """The training was left, as it had been asked to be, on all ranks; `begin` goes on from the newest checkpoint."""

    epoch: int  # epochs trained so far
    step: int  # steps of the next one that were trained; 0: none
    checkpoint: str | None = None  # of just that; None: no folder, a storage that fails, or none can be made here


@dataclass(frozen=True, kw_only=True)
class LoadersFound:
    """What can't load these images, by the loader's name, and why."""

    impossible: Mapping[str, str] = field(default_factory=dict)  # at all
    without_processes: Mapping[str, str] = field(default_factory=dict)  # in processes of its own


@dataclass(frozen=True, kw_only=True)
class DeviceFound:
    """The device of a node's trials, found to work. The default: a CPU."""

    name: str = "the CPU"
    total_mib: float | None = None  # of a GPU
    context_mib: float | None = None  # that a process takes of it beside its tensors; None: not measured
    others: str | None = None  # in words, who else holds what of it; None: nobody
    compute_mode: str = "default"  # or exclusive: to one process at a time; or prohibited
    has_mps: bool = False  # NVIDIA's daemon, by which several processes are as one to the device
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # metrics that it can't give, and why
    without_compile: str | None = None  # why torch.compile can't work; None: it can, or is not wanted
    hardware: Mapping[str, Plain] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a node with a trial's resources says of the spec."""

    data: DataFacts
    model: ModelFacts | None  # None: the user's own training generator builds what it likes
    strategies: Cards  # of all that the spec names
    precisions: frozenset[str]
    loaders: LoadersFound
    device: DeviceFound = field(default_factory=DeviceFound)
    shared_memory_bytes: int | None  # that are free; None where the system has none by name
    hardware: Mapping[str, Plain]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probed configuration."""

    cost: Cost = field(default_factory=Cost)
    reason: str | None = None  # why there is no cost; None: there is one
    out_of_memory: bool = False  # whether that is because it doesn't fit


@dataclass(frozen=True, kw_only=True)
class Program:
    """A trained model that needs none of our code: uint8 images to float32 logits, normalising included."""

    pt2: bytes  # a file that torch.export.load reads
    images_nchw: NDArray[np.uint8]  # some of the test split
    logits_nk: NDArray[np.float32]  # what the model makes of those
    torch_version: str
