"""What the rest of the package needs to know of a data set."""

from dataclasses import dataclass

from tune_cnn.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """A prepared data set in numbers; equal on every machine that holds the same images."""

    name: str
    num_classes: int
    in_channels: int
    image_size: tuple[int, int]  # height, width
    train_images: int
    validation_images: int
    test_images: int
    classes: tuple[str, ...]
    key: str  # hash of the decoded images and labels
    mean: tuple[float, ...]  # per channel of the training split, of pixels in [0, 1]
    std: tuple[float, ...]
    notes: tuple[str, ...]  # for the user: what was left out, split off or sampled

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (self.in_channels, *self.image_size)


def check_batch(facts: DataFacts, batch_size: int, ranks: int = 1) -> None:
    """DataError where the training split can't fill one batch, or the ranks can't share it evenly."""
    if not 1 <= batch_size <= facts.train_images:
        raise DataError(
            f"batch_size: must be between 1 and the {facts.train_images} training images of {facts.name}, "
            f"got {batch_size}; use a smaller batch or more images"
        )
    if batch_size % ranks:
        raise DataError(
            f"batch_size: is divided over {ranks} ranks and must be a multiple of {ranks}, got {batch_size}"
        )
