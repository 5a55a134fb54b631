"""One configuration: the value of every key that a space may search, and the table of those keys."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Loader = Literal["device", "batched", "stream"]

# A key that means something only for some values of another key: searched only there, refused elsewhere.
ONLY_WHERE: dict[str, tuple[str, frozenset[str]]] = {
    "loader_workers": ("loader", frozenset({"batched", "stream"})),
    "momentum": ("optimizer", frozenset({"sgd"})),
    "nesterov": ("optimizer", frozenset({"sgd"})),
    "lr_base_batch": ("lr_rule", frozenset({"sqrt", "linear"})),
}
# Keys with free endings: `model.width` is the argument `width` of the model's factory.
OPEN_PREFIXES = ("model.", "training.")


class Configuration(BaseModel):
    """What one trial trains. Its fields are the keys of `space`; an absent key has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(10, ge=1, description="horizon of the schedule")
    batch_size: int = Field(128, ge=1, description="images a step, over all ranks")
    learning_rate: float = Field(0.1, gt=0, description="peak learning rate for `lr_base_batch` images")
    lr_rule: Literal["none", "sqrt", "linear"] = Field("none", description="how the rate grows with the batch")
    lr_base_batch: int = Field(128, ge=1, description="batch for which `learning_rate` is meant")
    warmup_epochs: float = Field(0.0, ge=0, description="linear warm-up; with one_cycle its rise (0: 30 % of epochs)")
    schedule: Literal["one_cycle", "cosine", "step", "plateau"] = Field(
        "cosine", description="step: a tenth at 1/2 and 3/4; plateau: a tenth after epochs/10 without a lower val_loss"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="update rule")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last update that the next one keeps")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    weight_decay: float = Field(5e-4, ge=0, description="decay of the weights, norms and biases excepted")
    gradient_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    augment: Literal["none", "flip", "crop", "crop_flip"] = Field(
        "none", description="per image: mirror at random, shift by up to an eighth of the side, or both"
    )
    loader: Loader = Field("device", description="where the images lie and who fetches a batch")
    loader_workers: int = Field(0, ge=0, description="processes of one rank's loader")
    precision: Precision = Field("fp32", description="tf32 and fp16 need a CUDA device")
    channels_last: bool = Field(False, description="memory format of images and weights")
    compile: bool = Field(False, description="torch.compile")
    model: dict[str, Any] = Field(default_factory=dict, description="arguments of the model's factory")
    training: dict[str, Any] = Field(default_factory=dict, description="arguments of your own training generator")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        for key, (other, values) in ONLY_WHERE.items():
            if key in self.model_fields_set and getattr(self, other) not in values:
                default = type(self).model_fields[key].default
                if getattr(self, key) != default:
                    raise ValueError(
                        f"{key}={getattr(self, key)!r} has no meaning with {other}={getattr(self, other)!r} "
                        f"(only with {', '.join(sorted(values))}); leave it out"
                    )
        return self

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """From flat parameters, as searched, stored and shown: {"epochs": 3, "model.width": 16}."""
        nested: dict[str, Any] = {}
        for key, value in params.items():
            prefix, dot, rest = key.partition(".")
            if dot and f"{prefix}." in OPEN_PREFIXES:
                nested.setdefault(prefix, {})[rest] = value
            else:
                nested[key] = value
        return cls.model_validate(nested)

    def params(self) -> dict[str, Any]:
        """Flat parameters with every key that means something here, defaults included."""
        flat: dict[str, Any] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            other, values = ONLY_WHERE.get(key, ("", frozenset()))
            if isinstance(value, dict):
                flat.update({f"{key}.{name}": v for name, v in value.items()})
            elif not other or getattr(self, other) in values:
                flat[key] = value
        return flat


def has_meaning(key: str, params: Mapping[str, Any]) -> bool:
    """Whether a key of the space means something beside these values (an absent one has its default)."""
    if key not in ONLY_WHERE:
        return True
    other, values = ONLY_WHERE[key]
    return params.get(other, Configuration.model_fields[other].default) in values


SPACE_KEYS = tuple(k for k in Configuration.model_fields if f"{k}." not in OPEN_PREFIXES)
