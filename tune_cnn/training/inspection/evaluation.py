"""Whether the model takes images at the size at which they would be evaluated."""

from itertools import product

import torch

from tune_cnn.errors import SpecError
from tune_cnn.spec import StudySpec
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.models.measure import takes_images
from tune_cnn.training.models.registry import build_model
from tune_cnn.untyped import Plain

SIZES = ("eval_image_size", "eval_crop")


def check_evaluation(spec: StudySpec, data: DataFacts, arguments: dict[str, Plain]) -> None:
    """SpecError where it doesn't: its layers may be made for the images' own size. The generator stays as it was."""
    if not any(key in spec.space for key in SIZES):
        return
    with torch.random.fork_rng(devices=[]):
        model = build_model(
            spec.model.name,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            arguments=arguments,
        )
    for side, crop in product(*(spec.dimension(key).ends for key in SIZES)):
        size = View(crop=crop, side=side, flip=False).size(data.image_size)
        if size != data.image_size and not takes_images(
            model, num_classes=data.num_classes, in_channels=data.in_channels, image_size=size
        ):
            key = "eval_image_size" if side else "eval_crop"
            raise SpecError(
                f"space.{key}: model {spec.model.name!r}, built for images of {data.image_size[0]}×"
                f"{data.image_size[1]}, can't take those of {size[0]}×{size[1]} that an evaluation would show it; "
                f"leave {key} out, or choose a model that pools before its last layer, as resnet20 does"
            )
