"""One configuration: the value of every key that a space may search, and the table of those keys."""

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tune_cnn.spec.augmentation import POLICIES, Augment
from tune_cnn.spec.optimizers import SCHEDULE_FREE, WITH_MOMENTUM, Optimizer
from tune_cnn.spec.value_sets import AllBut, any_of, told
from tune_cnn.untyped import Plain

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Loader = Literal["device", "batched", "stream"]

# A key that means something only for some values of another key: searched only there, refused elsewhere.
ONLY_WHERE: dict[str, tuple[str, frozenset[str] | AllBut]] = {
    "loader_workers": ("loader", frozenset({"batched", "stream"})),
    "momentum": ("optimizer", WITH_MOMENTUM),
    "nesterov": ("optimizer", WITH_MOMENTUM),
    "decoupled": ("optimizer", frozenset({"sgd", "sam"})),
    "sam_rho": ("optimizer", frozenset({"sam"})),
    "schedule": ("optimizer", AllBut(SCHEDULE_FREE)),
    "lr_base_batch": ("lr_rule", frozenset({"sqrt", "linear"})),
    "lr_start": ("schedule", frozenset({"triangle"})),
    "lr_end": ("schedule", frozenset({"triangle"})),
    "flips": ("augment", frozenset({"flip", "crop_flip"})),
    "shift": ("augment", frozenset({"crop", "crop_flip"})),
    "shift_fill": ("augment", frozenset({"crop", "crop_flip"})),
    "crop_scale": ("augment", frozenset({"random_resized_crop"})),
    "crop_ratio": ("augment", frozenset({"random_resized_crop"})),
    "jitter_brightness": ("augment", frozenset({"color_jitter"})),
    "jitter_contrast": ("augment", frozenset({"color_jitter"})),
    "jitter_saturation": ("augment", frozenset({"color_jitter"})),
    "jitter_hue": ("augment", frozenset({"color_jitter"})),
    "rand_augment_operations": ("augment", frozenset({"rand_augment"})),
    "rand_augment_magnitude": ("augment", frozenset({"rand_augment"})),
    "erasing_probability": ("augment", frozenset({"random_erasing"})),
    "class_weights": ("class_sampling", frozenset({"random"})),  # both would set the classes right twice
    "class_weights_beta": ("class_weights", frozenset({"effective"})),
}
# A key that means something only where these numbers can be above 0 together.
ONLY_ABOVE_0: dict[str, tuple[str, ...]] = {"mix_switch": ("mixup", "cutmix")}
# Keys with free endings: `model.width` is the argument `width` of the model's factory.
OPEN_PREFIXES = ("model.", "training.")
REGIME_BASE_BATCH = 128  # what regime_adaptation takes `epochs` to be meant for, unless its knob says another
LOTTERY_LEVELS = 2  # how often lottery_ticket prunes and trains again, unless its knob says another
STRETCHING = ("regime_adaptation", "lottery_ticket")  # strategies that train for more than `epochs`
# `strategies.s3pool` says whether a strategy is on, `strategies.s3pool.grid` is one of its knobs.
STRATEGIES = "strategies."


class Configuration(BaseModel):
    """What one trial trains. Its fields are the keys of `space`; an absent key has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(10, ge=1, description="horizon of the schedule")
    batch_size: int = Field(128, ge=1, description="images a step, over all ranks")
    learning_rate: float = Field(0.1, gt=0, description="peak learning rate for `lr_base_batch` images")
    lr_rule: Literal["none", "sqrt", "linear"] = Field("none", description="how the rate grows with the batch")
    lr_base_batch: int = Field(128, ge=1, description="batch for which `learning_rate` is meant")
    warmup_epochs: float = Field(
        0.0, ge=0, description="linear warm-up; with one_cycle and triangle their rise (0: 30 % of epochs)"
    )
    schedule: Literal["one_cycle", "triangle", "cosine", "step", "plateau"] = Field(
        "cosine",
        description="triangle: straight up to the peak, straight down; step: a tenth at 1/2 and 3/4; "
        "plateau: a tenth after epochs/10 without a lower val_loss",
    )
    lr_start: float = Field(0.2, gt=0, le=1, description="rate of the first step, as a share of the peak")
    lr_end: float = Field(0.07, ge=0, le=1, description="rate after the last step, as a share of the peak")
    optimizer: Optimizer = Field(
        "sgd",
        description="update rule: see Optimizers; your own is package.module:name, called as f(groups, lr=…, "
        "weight_decay=…) for a torch.optim.Optimizer",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last update that the next one keeps")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    decoupled: bool = Field(
        False,
        description="rate and decay are meant with what momentum adds to a step, and the decay doesn't grow with the "
        "rate: each can be changed alone",
    )
    sam_rho: float = Field(
        0.05, gt=0, description="how far from the weights sharpness-aware steps take their gradients"
    )
    weight_decay: float = Field(
        5e-4, ge=0, description="decay of the weights; of norms and biases too with `decay_all`"
    )
    decay_all: bool = Field(False, description="norms, biases and other vectors decay as fast as the weights")
    norm_lr_ratio: float = Field(
        1.0, gt=0, description="learning rate of the norms' scales and shifts, over that of the weights"
    )
    activation_checkpointing: bool = Field(
        False, description="blocks keep their inputs alone and run again in the backward pass: less memory, more time"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="fine-tuning: rate of each stage of the model, over that of the stage behind it"
    )
    backbone_lr_ratio: float = Field(
        1.0, gt=0, description="fine-tuning: rate of all but the model's head, over that of the head"
    )
    frozen_stages: int = Field(0, ge=0, description="fine-tuning: how many of the model's first stages do not learn")
    head_epochs: int = Field(
        0, ge=0, description="fine-tuning: first epochs, in which the head alone learns; then the optimizer begins anew"
    )
    gradient_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")
    accumulate: int = Field(
        1,
        ge=1,
        description="micro-batches a step, for batches that memory doesn't hold: the same step but for rounding, and "
        "for batch normalisation, which sees each apart",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    loss: Literal["cross_entropy", "bce"] = Field(
        "cross_entropy",
        description="what is trained on; bce: binary cross-entropy, the mean over the classes. val_loss is always "
        "cross-entropy",
    )
    class_weights: Literal["none", "balanced", "effective"] = Field(
        "none",
        description="what a class's images count for in the training loss: balanced: 1 / their number, effective: 1 / "
        "their effective number; the mean over the images is 1",
    )
    class_weights_beta: float = Field(0.999, ge=0, lt=1, description="0 weighs all classes alike, near 1 is balanced")
    class_sampling: Literal["random", "balanced"] = Field(
        "random", description="balanced: an epoch shows each class equally often, and repeats images of the rare ones"
    )
    mixup: float = Field(
        0.0, ge=0, description="images are blended in pairs, by shares of Beta(mixup, mixup), labels too; 0: off"
    )
    cutmix: float = Field(
        0.0, ge=0, description="boxes of one image stand in another, of areas by Beta(cutmix, cutmix); 0: off"
    )
    mix_switch: float = Field(0.5, ge=0, le=1, description="share of the images that get a box, the others blend")
    augment: Augment = Field(
        "none",
        description="per image, several joined by + in their order: none, flip (mirror it), crop (shift it), "
        "crop_flip, " + ", ".join(POLICIES),
    )
    flips: Literal["random", "alternating"] = Field(
        "random", description="alternating: each image is mirrored in every second epoch, a random half in the first"
    )
    shift: float = Field(0.125, gt=0, le=0.5, description="largest shift, as a share of the side; at least one pixel")
    shift_fill: Literal["black", "mirror"] = Field("black", description="what stands where a shift leaves nothing")
    crop_scale: float = Field(0.08, gt=0, le=1, description="smallest area of a crop, as a share of the image")
    crop_ratio: float = Field(4 / 3, ge=1, description="largest width of a crop over its height, and the other way")
    jitter_brightness: float = Field(0.4, ge=0, description="largest change of the brightness, as a share of it")
    jitter_contrast: float = Field(0.4, ge=0, description="the same of the contrast")
    jitter_saturation: float = Field(0.4, ge=0, description="the same of the saturation")
    jitter_hue: float = Field(0.1, ge=0, le=0.5, description="largest turn of the hue, as a share of its circle")
    rand_augment_operations: int = Field(2, ge=1, le=8, description="operations of an image, one after another")
    rand_augment_magnitude: int = Field(9, ge=0, le=30, description="their strength, of 30")
    erasing_probability: float = Field(0.25, gt=0, le=1, description="share of the images in which a box is erased")
    eval_image_size: int = Field(
        0,
        ge=0,
        description="shorter side to which images are resized for evaluation, after `eval_crop`; 0: as they are",
    )
    eval_crop: float = Field(
        1.0, gt=0, le=1, description="share of each side that an evaluation sees, in the image's middle"
    )
    flip_at_test: bool = Field(False, description="evaluated logits are the mean over an image and its mirror")
    loader: Loader = Field("device", description="where the images lie and who fetches a batch")
    loader_workers: int = Field(0, ge=0, description="processes of one rank's loader")
    precision: Precision = Field("fp32", description="tf32 and fp16 need a CUDA device")
    channels_last: bool = Field(
        True, description="memory format of images and weights; false beside a model or a training of your own"
    )
    compile: bool = Field(False, description="torch.compile")
    model: dict[str, Plain] = Field(default_factory=dict, description="arguments of the model's factory")
    training: dict[str, Plain] = Field(default_factory=dict, description="arguments of your own training")
    strategies: dict[str, Plain] = Field(
        default_factory=dict, description="time-efficient training strategies by name: `tune-cnn strategies` lists them"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        for key, (other, values) in ONLY_WHERE.items():
            if key in self.model_fields_set and not any_of(getattr(self, other), values):
                default = type(self).model_fields[key].default
                if getattr(self, key) != default:
                    raise ValueError(
                        f"{key}={getattr(self, key)!r} has no meaning with {other}={getattr(self, other)!r} "
                        f"(only with {told(values)}); leave it out"
                    )
        for key, others in ONLY_ABOVE_0.items():
            if getattr(self, key) != type(self).model_fields[key].default and not all(getattr(self, o) for o in others):
                raise ValueError(
                    f"{key}={getattr(self, key)!r} has no meaning unless {' and '.join(others)} are above 0; "
                    "leave it out"
                )
        for key, value in self.strategies.items():
            name, knob = strategy_and_knob(STRATEGIES + key)
            if knob is None and not isinstance(value, bool):
                raise ValueError(f"strategies.{name} must be true or false, got {value!r}")
            if knob is not None and self.strategies.get(name) is not True:
                raise ValueError(f"strategies.{key}={value!r} has no meaning while {name} is off; leave it out")
        return self

    @classmethod
    def from_params(cls, params: Mapping[str, Plain]) -> Self:
        """From flat parameters, as searched, stored and shown: {"epochs": 3, "model.width": 16}."""
        nested: dict[str, Plain] = {}
        for key, value in params.items():
            prefix, dot, rest = key.partition(".")
            if dot and f"{prefix}." in (*OPEN_PREFIXES, STRATEGIES):
                nested.setdefault(prefix, {})[rest] = value
            else:
                nested[key] = value
        return cls.model_validate(nested)

    def params(self) -> dict[str, Plain]:
        """Flat parameters with every key that means something here, defaults included."""
        flat: dict[str, Plain] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, dict):
                flat.update({f"{key}.{name}": v for name, v in value.items()})
            elif has_meaning(key, vars(self)):
                flat[key] = value
        return flat

    @property
    def horizon(self) -> int:
        """Epochs of the whole trial: those of one training, as often as lottery_ticket trains."""
        return self.epochs_of_training * self.trainings

    @property
    def fine_tunes(self) -> bool:
        """Whether the model's stages learn otherwise than its head."""
        return self.frozen_stages + self.head_epochs > 0 or self.layer_decay < 1 or self.backbone_lr_ratio != 1

    @property
    def epochs_of_training(self) -> int:
        """Epochs of the schedule: `epochs`, or as many more as regime_adaptation gives a larger batch."""
        regime = self.strategies_on.get("regime_adaptation")
        if regime is None:
            return self.epochs
        base_batch: int = regime.get("base_batch", REGIME_BASE_BATCH)
        return math.ceil(self.epochs * self.batch_size / base_batch)

    @property
    def trainings(self) -> int:
        """How often the schedule begins anew within a trial: once, but with lottery_ticket once more for each level."""
        lottery = self.strategies_on.get("lottery_ticket")
        return 1 if lottery is None else 1 + int(lottery.get("levels", LOTTERY_LEVELS))

    @property
    def strategies_on(self) -> dict[str, dict[str, Plain]]:
        """The knobs of every strategy that is on, by its name."""
        on: dict[str, dict[str, Plain]] = {name: {} for name, value in self.strategies.items() if value is True}
        for key, value in self.strategies.items():
            name, knob = strategy_and_knob(STRATEGIES + key)
            if knob is not None:
                on[name][knob] = value
        return {name: knobs for name, knobs in on.items() if strategy_and_knob(STRATEGIES + name)[1] is None}


def strategy_and_knob(key: str) -> tuple[str, str | None]:
    """Of a flat key: ("s3pool", "grid") of strategies.s3pool.grid; no knob where the key is the strategy's own.

    One of the user's own has dots in its name: strategies.package.module:Class.knob.
    """
    module, colon, rest = key.removeprefix(STRATEGIES).rpartition(":")
    name, _, knob = rest.partition(".")
    return f"{module}{colon}{name}", knob or None


def is_strategy(key: str) -> bool:
    """Whether a flat key turns a strategy on and off."""
    return key.startswith(STRATEGIES) and strategy_and_knob(key)[1] is None


def has_meaning(key: str, params: Mapping[str, Plain]) -> bool:
    """Whether a key of the space means something beside these values (an absent one has its default)."""
    if key.startswith(STRATEGIES):
        name, knob = strategy_and_knob(key)
        return knob is None or params.get(STRATEGIES + name) is True
    if key in ONLY_ABOVE_0:
        return all(params.get(other, Configuration.model_fields[other].default) > 0 for other in ONLY_ABOVE_0[key])
    if key not in ONLY_WHERE:
        return True
    other, values = ONLY_WHERE[key]
    default = Configuration.model_fields[other].default
    return any_of(params.get(other, default) if has_meaning(other, params) else default, values)


def conditions(key: str) -> int:
    """How many other keys, each by the next, decide that this one exists."""
    return 1 + conditions(ONLY_WHERE[key][0]) if key in ONLY_WHERE else int(key in ONLY_ABOVE_0)


SPACE_KEYS = tuple(k for k in Configuration.model_fields if f"{k}." not in (*OPEN_PREFIXES, STRATEGIES))
