"""What an image's operations are drawn from: numbers of its own, of the seed, the epoch and its place in the split."""

from dataclasses import dataclass, field, replace

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec import Configuration
from tune_cnn.spec.augmentation import COLOURED, POLICIES, operations_of
from tune_cnn.training.data.readers import Int64
from tune_cnn.untyped import Untyped

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
COMPOSED = 3  # marks the stream of random numbers that belongs to operations
MOST = 32  # numbers that an operation may draw for an image
_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How strong the operations are; by the keys of a configuration."""

    crop_scale: float = 0.08
    crop_ratio: float = 4 / 3
    rand_augment_operations: int = 2
    rand_augment_magnitude: int = 9
    jitter_brightness: float = 0.4
    jitter_contrast: float = 0.4
    jitter_saturation: float = 0.4
    jitter_hue: float = 0.1
    erasing_probability: float = 0.25
    mean_colour: tuple[int, ...] = ()  # of the training split, 0 to 255 by channel: what erases

    @classmethod
    def of(cls, configuration: Configuration) -> "Settings":
        """The colour is the data's."""
        return cls(**{name: getattr(configuration, name) for name in cls.__dataclass_fields__ if name != "mean_colour"})


AS_USUAL = Settings()


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The operations of some images, in their order, and the images' places in the split."""

    operations: tuple[str, ...]
    settings: Settings
    key: int  # of seed and epoch
    positions_n: Int64 = field(repr=False)  # of an image that comes again, others: see `told_apart`

    @classmethod
    def of(cls, augment: str, settings: Settings, *, seed: int, epoch: int, positions_n: Int64) -> "Composed":
        key = int(np.random.SeedSequence((seed, epoch, COMPOSED)).generate_state(1, np.uint64)[0])
        return cls(operations=operations_of(augment), settings=settings, key=key, positions_n=positions_n)

    def __getitem__(self, where: "slice | Int64") -> "Composed":
        return replace(self, positions_n=self.positions_n[where])

    def uniform(self, operation: str, count: int) -> Floats:
        """(n, count) numbers in [0, 1), the same for an image whoever asks, in whatever batch.

        SplitMix64 (Steele, Lea, Flood, 2014, https://doi.org/10.1145/2660193.2660195) of a counter: no epoch's worth of
        numbers has to be drawn and kept.
        """
        assert count <= MOST, operation
        first = POLICIES.index(operation) * MOST
        places_n = self.positions_n.astype(np.uint64)[:, None] * np.uint64(MOST * len(POLICIES))
        with np.errstate(over="ignore"):
            z: Untyped = (places_n + np.arange(first, first + count, dtype=np.uint64)) * _GOLDEN + np.uint64(self.key)
            z = (z ^ (z >> np.uint64(30))) * _FIRST
            z = (z ^ (z >> np.uint64(27))) * _SECOND
        drawn: Floats = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return drawn


def check_channels(augment: str, in_channels: int) -> None:
    """DataError where an operation wants three channels and the images have another number."""
    for name in operations_of(augment):
        if name in COLOURED and in_channels != 3:
            raise DataError(
                f"augment: {name} changes colours, so images must have three channels, got {in_channels}; "
                "leave it out, or take random_resized_crop, flip, crop or random_erasing"
            )
