"""Whether the model has the stages that the spec would freeze, or let learn at rates of their own."""

from collections.abc import Sequence

import torch

from tune_cnn.errors import ModelError, SpecError
from tune_cnn.spec import StudySpec
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.models.registry import stages_of_model
from tune_cnn.untyped import Plain

WITHOUT = {"frozen_stages": 0, "head_epochs": 0, "layer_decay": 1.0, "backbone_lr_ratio": 1.0}


def check_fine_tuning(spec: StudySpec, data: DataFacts, variants: Sequence[dict[str, Plain]]) -> None:
    """SpecError where a model, with some of these arguments, lacks them. Torch's global generator stays as it was."""
    keys = [key for key, nothing in WITHOUT.items() if set(spec.dimension(key).ends) - {nothing}]
    most = spec.dimension("frozen_stages").largest
    for arguments in variants if keys else ():
        given = "".join(f" with {name}={value!r}" for name, value in arguments.items())
        try:
            with torch.random.fork_rng(devices=[]):
                *backbone, _ = stages_of_model(
                    spec.model.name,
                    num_classes=data.num_classes,
                    in_channels=data.in_channels,
                    image_size=data.image_size,
                    arguments=arguments,
                )
        except ModelError as error:
            raise SpecError(f"space.{keys[0]}: model {spec.model.name!r}{given}: {error}") from None
        if most > len(backbone):
            stages = f"{len(backbone)} stage{'s' if len(backbone) > 1 else ''}"
            raise SpecError(
                f"space.frozen_stages: model {spec.model.name!r}{given} has {stages} before its head "
                f"({', '.join(map(str, backbone))}), got {most}; freeze {len(backbone)} at most"
            )
