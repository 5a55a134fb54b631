"""An operation by its name."""

from collections.abc import Callable, Mapping

from torch import Tensor

from tune_cnn.training.data.operations.drawn import Composed
from tune_cnn.training.data.operations.erasing import random_erasing
from tune_cnn.training.data.operations.geometry import random_resized_crop
from tune_cnn.training.data.operations.policies import color_jitter, rand_augment, trivial_augment

BY_NAME: Mapping[str, Callable[[Tensor, Composed], Tensor]] = {
    "random_resized_crop": random_resized_crop,
    "color_jitter": color_jitter,
    "trivial_augment": trivial_augment,
    "rand_augment": rand_augment,
    "random_erasing": random_erasing,
}
