"""StudySpec: what to train, what to search, what for, on what, and for how long."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from tune_cnn import objectives as table
from tune_cnn.errors import SpecError, StudyError
from tune_cnn.spec.configuration import Configuration
from tune_cnn.spec.dimensions import Choice, Dimension, Fixed, Range, largest, parse_space

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
CALL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def study_name(name: str) -> str:
    """The name itself, where it is safe as a folder, a table key and an MLflow experiment."""
    if not NAME.fullmatch(name):
        raise StudyError(
            f"study: a name is 1 to 128 of A-Z a-z 0-9 . _ - and starts with a letter or digit, got {name[:140]!r}"
        )
    return name


def _call(text: str) -> str:
    if not CALL.fullmatch(text):
        raise ValueError("must be package.module:name")
    return text


Call = Annotated[str, AfterValidator(_call)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSpec(_Part):
    """Which images."""

    name: str = Field(description="digits, fashion_mnist, cifar10, cifar100, svhn, image_folder or package.module:name")
    root: str = Field("./data", description="folder of the images; made absolute when the spec is loaded")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training set held out, by seed and class")
    test: float = Field(0.1, gt=0, lt=1, description="share split off for testing, where the set has no test part")
    subset: int | None = Field(None, ge=2, description="use this many training images only, drawn by seed and class")
    image_size: int | None = Field(None, ge=1, description="resize to this side in pixels (image_folder: default 224)")
    offline: bool = Field(False, description="never download")
    max_broken: int = Field(0, ge=0, description="unreadable images that image_folder may leave out, each named")

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: str) -> str:
        return str(Path(root).expanduser().absolute())


class ModelSpec(_Part):
    """Which network. Its factory's arguments stand in `space` as `model.<argument>`."""

    name: str = Field(description="see `tune_cnn models` in the README, a torchvision model, or package.module:name")
    weights: str | None = Field(None, description="pretrained weights of a torchvision model, e.g. DEFAULT")


class Bound(_Part):
    """A constraint on a metric."""

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("needs max, min or both")
        return self


class UserMetric(_Part):
    """A metric of your own: call(model, loader) -> float, after each epoch on the validation split."""

    call: Call
    unit: str
    direction: Literal["max", "min"]


class Resources(_Part):
    """What one trial gets; fixed for the study."""

    ranks: int = Field(1, ge=1, description="processes of a trial's data-parallel group")
    gpus_per_rank: float | list[float] | None = Field(
        None, description="0, a fraction or 1; a list runs as successive phases; default 1 where there are GPUs, else 0"
    )
    cpus_per_trial: int = Field(1, ge=1, description="cores of one trial: ranks, their threads and loader workers")
    slots: int | None = Field(None, ge=1, description="trials at a time at most; default: what the hardware holds")
    accelerator: str | None = Field(None, description="type of GPU as Ray names it, on a mixed cluster")
    deterministic: bool = Field(False, description="bit-identical repeats on a GPU, at a cost in speed")
    code: list[str] = Field(default_factory=list, description="folders or packages of yours to carry to the nodes")
    checkpoint_every_s: float = Field(30.0, ge=0, description="shortest time between two checkpoints of a trial")

    @field_validator("code")
    @classmethod
    def _absolute(cls, paths: list[str]) -> list[str]:
        return [str(Path(path).expanduser().absolute()) for path in paths]

    @property
    def gpu_phases(self) -> list[float | None]:
        return list(self.gpus_per_rank) if isinstance(self.gpus_per_rank, list) else [self.gpus_per_rank]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for share in self.gpu_phases:
            if share is not None and not (share == 0 or 0 < share <= 1):
                raise SpecError(f"resources.gpus_per_rank: must be 0, a fraction or 1, got {share}")
            if self.ranks > 1 and share is not None and 0 < share < 1:
                raise SpecError(
                    f"resources: ranks={self.ranks} needs whole GPUs, got gpus_per_rank={share}; "
                    "NCCL refuses two ranks on one GPU. Set ranks: 1 or gpus_per_rank: 1."
                )
        if not self.gpu_phases:
            raise SpecError("resources.gpus_per_rank: a list needs at least one value, got []")
        if self.cpus_per_trial < self.ranks:
            raise SpecError(
                f"resources: {self.ranks} ranks need at least a core each, got cpus_per_trial={self.cpus_per_trial}; "
                f"set cpus_per_trial: {self.ranks} or more, or fewer ranks"
            )
        return self


class Budget(_Part):
    """When a search ends: whichever comes first, counted over all resumes."""

    trials: int | None = Field(None, ge=1)
    hours: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.trials is None and self.hours is None:
            raise ValueError("needs trials, hours or both; a search without either never ends")
        return self


class SamplerSpec(_Part):
    """Who proposes configurations; other keys go to Optuna's sampler as they stand."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Literal["tpe", "gp", "nsga2", "random", "qmc"] = "tpe"


class StudySpec(_Part):
    """A whole study. Made by `parse_spec` and `load_spec`, whose errors name file and key."""

    study: str
    description: str = ""
    data: DataSpec
    model: ModelSpec
    objectives: list[str] = Field(["accuracy", "train_time_s"], min_length=1)
    constraints: dict[str, Bound] = Field(default_factory=dict)
    metrics: dict[str, UserMetric] = Field(default_factory=dict)
    training: Call | None = Field(None, description="your own training generator, package.module:name")
    space: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Field(default_factory=Resources)
    budget: Budget
    sampler: SamplerSpec = Field(default_factory=SamplerSpec)
    stopper: Literal["none"] = "none"
    seed: int = Field(0, ge=0, lt=2**31)
    warm_start: list[str] = Field(
        default_factory=list, description="exports, specs with one configuration, or names of studies to start from"
    )

    @field_validator("study")
    @classmethod
    def _named(cls, name: str) -> str:
        return study_name(name)

    @field_validator("sampler", mode="before")
    @classmethod
    def _short_sampler(cls, raw: Any) -> Any:
        return {"name": raw} if isinstance(raw, str) else raw

    @field_validator("warm_start", mode="before")
    @classmethod
    def _short_warm_start(cls, raw: Any) -> Any:
        return [raw] if isinstance(raw, str) else raw

    @field_validator("space", mode="after")
    @classmethod
    def _space(cls, raw: dict[str, Any]) -> dict[str, Dimension]:
        return parse_space(raw)

    @field_serializer("space")
    def _space_out(self, space: dict[str, Dimension]) -> dict[str, Any]:
        return {key: dimension_out(dimension) for key, dimension in space.items()}

    @property
    def user_metrics(self) -> dict[str, table.Metric]:
        return {
            name: table.user_metric(name, unit=m.unit, direction=m.direction, call=m.call)
            for name, m in self.metrics.items()
        }

    @property
    def objective_metrics(self) -> list[table.Metric]:
        return [table.metric(name, self.user_metrics) for name in self.objectives]

    @property
    def searched(self) -> dict[str, Choice | Range]:
        return {key: dim for key, dim in self.space.items() if isinstance(dim, Choice | Range)}

    @property
    def fixed(self) -> dict[str, Any]:
        return {key: dim.value for key, dim in self.space.items() if isinstance(dim, Fixed)}

    def configuration(self, params: Mapping[str, Any]) -> Configuration:
        """The whole configuration of a trial: what was searched over what is fixed over the defaults."""
        return Configuration.from_params({**self.fixed, **params})

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        taken = set(self.metrics) & set(table.METRICS)
        if taken:
            raise SpecError(f"metrics: {', '.join(sorted(taken))} is a metric of the table; choose another name")
        if len(set(self.objectives)) < len(self.objectives):
            raise SpecError(f"objectives: each may stand once, got {self.objectives}")
        for name in self.objectives:
            table.metric(name, self.user_metrics, where="objectives")
        for name in self.constraints:
            table.metric(name, self.user_metrics, where="constraints")
        if self.training is None and any(key.startswith("training.") for key in self.space):
            raise SpecError("space: training.<argument> needs `training: package.module:name`, your own generator")
        _fits_ranks(self.space, self.resources)
        return self


def _fits_ranks(space: Mapping[str, Dimension], resources: Resources) -> None:
    workers = largest(space.get("loader_workers", Fixed(value=0)))
    if workers * resources.ranks > resources.cpus_per_trial:
        raise SpecError(
            f"space.loader_workers: {resources.ranks} ranks × {workers:g} workers need as many cores, "
            f"got cpus_per_trial={resources.cpus_per_trial}; raise resources.cpus_per_trial or search fewer workers"
        )
    batch = space.get("batch_size", Fixed(value=Configuration.model_fields["batch_size"].default))
    if isinstance(batch, Range):
        sizes = [batch.low, batch.low + (batch.step or 1)]
    else:
        sizes = list(batch.values) if isinstance(batch, Choice) else [batch.value]
    for size in sizes:
        if size % resources.ranks:
            raise SpecError(
                f"space.batch_size: is divided over the ranks, so {size} needs to be a multiple of "
                f"{resources.ranks}; a range needs such a step too"
            )


def dimension_out(dimension: Dimension) -> Any:
    """A dimension as YAML has it."""
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choice):
        return list(dimension.values)
    out: dict[str, Any] = {"low": dimension.low, "high": dimension.high}
    if dimension.log:
        out["log"] = True
    if dimension.step is not None:
        out["step"] = dimension.step
    return out
