"""What the rest of the package needs to know of a model."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model is and costs for one image, two operations to a multiply-add as torch's FLOP counter has it."""

    parameters: int
    inference_gflops: float
    train_gflops: float  # forward and backward
    unused_parameters: tuple[str, ...] = ()  # get no gradient; data-parallel training must be told
    joins_images: bool = False  # in training an image's output depends on those beside it: batch normalisation
