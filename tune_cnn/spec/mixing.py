"""What images that are mixed or weighed can't be trained beside, and what a training of one's own does itself."""

from collections.abc import Mapping

from tune_cnn.errors import SpecError
from tune_cnn.spec.configuration import STRATEGIES
from tune_cnn.spec.dimensions import Dimension, dimension_of
from tune_cnn.untyped import Plain

MIXES = ("mixup", "cutmix")
# Keys that our own loop takes for itself, with what stands in its place, and the value at which they do nothing.
OURS: dict[str, tuple[Plain, str]] = {
    "mixup": (0.0, "whose labels are classes"),
    "cutmix": (0.0, "whose labels are classes"),
    "loss": ("cross_entropy", "which has a loss of its own"),  # an export names every key, defaults too
    "class_weights": ("none", "which has a loss of its own"),
    "class_sampling": ("random", "which asks for its images itself"),
    "flip_at_test": (False, "which measures its accuracy itself"),
}
# Strategies that look at an image's own loss, or at a batch's from epoch to epoch.
NOT_BESIDE: dict[str, str] = {
    "info_batch": "leaves images out by their own last losses, and a mixed image's loss is that of two",
    "selective_backprop": "chooses images by their own losses, and a mixed image's loss is that of two",
    "isgd": "compares the losses of the same batches in every epoch, and mixing makes others of them",
}
# The same where the classes weigh differently.
NOT_BESIDE_WEIGHTS: dict[str, str] = {
    "selective_backprop": "chooses images by their losses, so that the weights would count twice",
}


def check_mixing(space: Mapping[str, Dimension], *, own_training: bool) -> None:
    """SpecError where images may be mixed or weighed beside what needs each one's loss, or our step is not taken."""
    for key, (nothing, instead) in OURS.items():
        if own_training and key in space and any(value != nothing for value in space[key].ends):
            raise SpecError(
                f"space.{key}: is done by our own training loop, and `training` replaces it by yours, {instead}; "
                f"leave {key} out"
            )
    weighs = any(value != "none" for value in dimension_of(space, "class_weights").values)
    for name, why in NOT_BESIDE_WEIGHTS.items():
        if weighs and dimension_of(space, STRATEGIES + name).holds(True):
            raise SpecError(f"space.class_weights: can't be on beside {name}, which {why}; leave one of them out")
    mixes = [key for key in MIXES if key in space and dimension_of(space, key).largest > 0]
    for name, why in NOT_BESIDE.items():
        if mixes and dimension_of(space, STRATEGIES + name).holds(True):
            raise SpecError(f"space.{mixes[0]}: can't be on beside {name}, which {why}; leave one of them out")
