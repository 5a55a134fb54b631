"""What a configuration costs, and which configurations cost the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tune_cnn.spec.configuration import Configuration, has_meaning
from tune_cnn.untyped import Plain

# What changes a step's numbers but not its work: all else, arguments of models and strategies among it, may cost.
FREE = frozenset(
    {
        "backbone_lr_ratio",
        "class_sampling",
        "class_weights",
        "class_weights_beta",
        "crop_ratio",
        "crop_scale",
        "decay_all",
        "decoupled",
        "epochs",
        "erasing_probability",
        "flips",
        "jitter_brightness",
        "jitter_contrast",
        "jitter_hue",
        "jitter_saturation",
        "label_smoothing",
        "layer_decay",
        "learning_rate",
        "lr_base_batch",
        "lr_end",
        "lr_rule",
        "lr_start",
        "mix_switch",
        "momentum",
        "nesterov",
        "sam_rho",
        "norm_lr_ratio",
        "rand_augment_magnitude",
        "schedule",
        "shift",
        "warmup_epochs",
        "weight_decay",
    }
)

# What takes its time whatever the amount, where it is not at its default.
ANY_AMOUNT = frozenset({"cutmix", "gradient_clip", "mixup"})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A configuration's cost on one kind of slot; None where it is not known."""

    step_time_s: float | None = None  # of a training step with the wait for its batch
    steps_per_epoch: float | None = None
    eval_time_s: float | None = None  # of one evaluation on the validation split
    peak_memory_mib: float | None = None
    start_time_s: float | None = None  # compiling, waking the device and starting loader processes: once a trial

    @property
    def epoch_time_s(self) -> float | None:
        """What one epoch adds to train_time_s."""
        if self.step_time_s is None or self.steps_per_epoch is None:
            return None
        return self.step_time_s * self.steps_per_epoch

    def trial_s(self, epochs: int) -> float | None:
        """How long a trial of so many epochs takes, an evaluation after each; None where a step's time isn't known."""
        if self.epoch_time_s is None:
            return None
        return epochs * (self.epoch_time_s + (self.eval_time_s or 0.0)) + (self.start_time_s or 0.0)


def cost_key(params: Mapping[str, Plain]) -> str:
    """The same text for all flat parameters whose trials take the same seconds a step and the same memory.

    A key left out is at its default; one that means nothing beside the others counts as left out.
    """
    costly = {k: v for k, v in params.items() if k not in FREE and not _is_default(k, v) and has_meaning(k, params)}
    for key in ANY_AMOUNT & costly.keys():
        costly[key] = True
    return _encoded(costly)


# Made once: a search asks for the keys of hundreds of configurations before each of its trials.
_DEFAULTS = {key: field.default for key, field in Configuration.model_fields.items()}
_encoded = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def _is_default(key: str, value: object) -> bool:
    if key in _DEFAULTS:
        return bool(value == _DEFAULTS[key])
    return key.startswith("strategies.") and value is False
