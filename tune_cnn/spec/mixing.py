"""What images that are mixed in pairs can't be trained beside."""

from collections.abc import Mapping

from tune_cnn.errors import SpecError
from tune_cnn.spec.configuration import STRATEGIES
from tune_cnn.spec.dimensions import Dimension, dimension_of

MIXES = ("mixup", "cutmix")
# Strategies that look at an image's own loss, or at a batch's from epoch to epoch.
NOT_BESIDE: dict[str, str] = {
    "info_batch": "leaves images out by their own last losses, and a mixed image's loss is that of two",
    "selective_backprop": "chooses images by their own losses, and a mixed image's loss is that of two",
    "isgd": "compares the losses of the same batches in every epoch, and mixing makes others of them",
}


def check_mixing(space: Mapping[str, Dimension], *, own_training: bool) -> None:
    """SpecError where images may be mixed beside what needs each image by itself, or where our step is not taken."""
    mixes = [key for key in MIXES if key in space and dimension_of(space, key).largest > 0]
    if own_training:
        for key in (*mixes, *(key for key in ("loss",) if key in space)):
            raise SpecError(
                f"space.{key}: is a matter of our own training step, and `training` replaces it: its labels are "
                f"classes; leave {key} out, and do it in your training"
            )
    for name, why in NOT_BESIDE.items():
        if mixes and dimension_of(space, STRATEGIES + name).holds(True):
            raise SpecError(f"space.{mixes[0]}: can't be on beside {name}, which {why}; leave one of them out")
