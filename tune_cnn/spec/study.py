"""StudySpec: what to train, what to search, what for, on what, and for how long."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, field_serializer, field_validator, model_validator

from tune_cnn import metrics as table
from tune_cnn.errors import SpecError
from tune_cnn.spec.calls import is_call
from tune_cnn.spec.configuration import STRATEGIES, Configuration, has_meaning
from tune_cnn.spec.dimensions import Choice, Dimension, Fixed, Range, dimension_of, fixed_of, searched_of
from tune_cnn.spec.messages import shown
from tune_cnn.spec.mixing import check_mixing
from tune_cnn.spec.parts import (
    Bound,
    Budget,
    ConfirmSpec,
    DataSpec,
    ModelSpec,
    SamplerSpec,
    SpecPart,
    StopperSpec,
    Training,
    UserMetric,
    absolute,
    check_data_name,
    study_name,
)
from tune_cnn.spec.prices import Prices, check_priced
from tune_cnn.spec.resources import Resources
from tune_cnn.spec.space import parse_space, space_out
from tune_cnn.untyped import Plain

METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class StudySpec(SpecPart):
    """A whole study. Made by `parse_spec` and `load_spec`, whose errors name file and key."""

    study: str = Field(description="name of the study: 1 to 128 of A-Z a-z 0-9 . _ -")
    description: str = Field("", description="what it is for, shown in MLflow and the report")
    data: DataSpec = Field(description="which images")
    model: ModelSpec = Field(description="which network")
    objectives: list[str] = Field(
        ["accuracy", "train_time_s"],
        min_length=1,
        description="metrics of the table or your own; directions are theirs",
    )
    constraints: dict[str, Bound] = Field(default_factory=dict, description="bounds on metrics")
    metrics: dict[str, UserMetric] = Field(default_factory=dict, description="metrics of your own")
    prices: Prices | None = Field(None, description="what `cost` and `carbon_g` are reckoned by")
    training: Training | None = Field(
        None,
        description="your own training: a generator, package.module:name, or a LightningModule, "
        "lightning:package.module:Class",
    )
    space: dict[str, Plain] = Field(default_factory=dict, description="what a trial trains, and what of it is searched")
    resources: Resources = Field(default_factory=Resources, description="what one trial gets")
    budget: Budget = Field(description="when the search ends")
    sampler: SamplerSpec = Field(default_factory=SamplerSpec, description="who proposes; a name alone will do")
    stopper: StopperSpec = Field(
        default_factory=StopperSpec, description="which trials end before their horizon; a name alone will do"
    )
    min_growth_pct_per_hour: float | None = Field(
        None,
        gt=0,
        description="the search ends when its last ten trials let the hypervolume grow by less than this many per "
        "cent of itself an hour",
    )
    confirm: ConfirmSpec | None = Field(
        None, description="train front candidates again when the search ends; `{}` for the defaults"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of the split, the sampler and, by trial, the training")
    warm_start: list[str] = Field(
        default_factory=list,
        description="exports, specs or recipes with one configuration, or names of studies to start from",
    )

    @field_validator("study")
    @classmethod
    def _named(cls, name: str) -> str:
        return study_name(name)

    @field_validator("sampler", "stopper", mode="before")
    @classmethod
    def _short_name(cls, raw: object) -> Plain:
        return {"name": raw} if isinstance(raw, str) else raw

    @field_validator("warm_start", mode="before")
    @classmethod
    def _short_warm_start(cls, raw: object) -> Plain:
        return [raw] if isinstance(raw, str) else raw

    @field_validator("warm_start", mode="after")
    @classmethod
    def _absolute_files(cls, sources: list[str]) -> list[str]:
        return [absolute(source) if _is_file_like(source) else study_name(source) for source in sources]

    @field_validator("space", mode="after")
    @classmethod
    def _space(cls, raw: dict[str, Plain]) -> dict[str, Dimension]:
        return parse_space(raw)

    @field_serializer("space")
    def _space_out(self, space: dict[str, Dimension]) -> dict[str, Plain]:
        return space_out(space)

    @property
    def user_metrics(self) -> dict[str, table.Metric]:
        """What the spec itself says of metrics: the user's own, and the table's `cost` in the user's currency."""
        own = {
            name: table.user_metric(name, unit=m.unit, direction=m.direction, call=m.call)
            for name, m in self.metrics.items()
        }
        return own | (self.prices.metrics if self.prices is not None else {})

    @property
    def objective_metrics(self) -> list[table.Metric]:
        return [table.metric(name, self.user_metrics) for name in self.objectives]

    @property
    def bounds(self) -> dict[str, dict[str, float]]:
        """The constraints as plain data: {metric: {min, max}}, of each the sides that are set."""
        return {name: bound.model_dump(exclude_none=True) for name, bound in self.constraints.items()}

    @property
    def searched(self) -> dict[str, Choice | Range]:
        return searched_of(self.space)

    @property
    def fixed(self) -> dict[str, Plain]:
        return fixed_of(self.space)

    def dimension(self, key: str) -> Dimension:
        """What the space says of a key, else the key's default; KeyError for an argument that has none."""
        return dimension_of(self.space, key)

    def configuration(self, params: Mapping[str, Plain]) -> Configuration:
        """The whole configuration of a trial: what was searched over what is fixed over the defaults."""
        whole = {**self.fixed, **params}
        return Configuration.from_params({k: v for k, v in whole.items() if k in params or has_meaning(k, whole)})

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        check_data_name(self.data.name)
        _check_names(self.metrics)
        _check_metrics(self.objectives, list(self.constraints), self.user_metrics)
        for name in self.objectives:
            check_priced(name, self.prices, where="objectives")
        for name in self.constraints:
            check_priced(name, self.prices, where="constraints")
        _check_calls(self.metrics, self.training)
        if self.training is None and any(key.startswith("training.") for key in self.space):
            raise SpecError(
                "space: training.<argument> is for your own training generator, and none is given; "
                "set training: package.module:name, or leave the argument out"
            )
        if self.training is not None and any(key.startswith(STRATEGIES) for key in self.space):
            raise SpecError(
                "space.strategies: act on our own training loop, and `training` replaces it; leave one of them out"
            )
        check_mixing(self.space, own_training=self.training is not None)
        _fits_ranks(self.space, self.resources)
        _compiles_or_checkpoints(self.space)
        if self.training is not None or is_call(self.model.name):
            # the faster layout is no default for what we don't know: `x.view(…)` behind a convolution can't take it
            self.space.setdefault("channels_last", Fixed(value=False))
        return self


def _is_file_like(source: str) -> bool:
    return "/" in source or Path(source).suffix in {".yaml", ".yml", ".json"} or source.startswith("~")


def _check_names(own: Mapping[str, UserMetric]) -> None:
    for name in own:
        if name in table.METRICS:
            raise SpecError(f"metrics: {name} is a metric of the table already; choose another name")
        if name in table.TEST:
            raise SpecError(f"metrics: {name} is what confirming measures on the test split; choose another name")
        if not METRIC_NAME.fullmatch(name):
            raise SpecError(
                f"metrics: a name is 1 to 64 of A-Z a-z 0-9 _ - and starts with a letter, got {shown(name)}"
            )


def _check_metrics(objectives: list[str], constraints: list[str], own: Mapping[str, table.Metric]) -> None:
    for name in objectives:
        if objectives.count(name) > 1:
            raise SpecError(f"objectives: each may stand once, got {name} twice; leave one out")
        table.metric(name, own, where="objectives")
    for name in constraints:
        table.metric(name, own, where="constraints")


def _check_calls(metrics: Mapping[str, UserMetric], training: str | None) -> None:
    for name, own in metrics.items():
        if training is None and own.call is None:
            raise SpecError(
                f"metrics.{name}.call: is required and missing; give package.module:name of f(model, loader) -> float"
            )
        if training is not None and own.call is not None:
            raise SpecError(
                f"metrics.{name}.call: is never called beside `training`, which yields its metrics itself; leave it out"
            )


def _fits_ranks(space: Mapping[str, Dimension], resources: Resources) -> None:
    workers, ranks = dimension_of(space, "loader_workers").largest, resources.ranks
    if workers * ranks > resources.cpus_per_trial:
        needs = f"{workers} workers" if ranks == 1 else f"{ranks} ranks × {workers} workers"
        raise SpecError(
            f"space.loader_workers: {needs} need as many cores, got cpus_per_trial={resources.cpus_per_trial}; "
            "raise resources.cpus_per_trial or search fewer workers"
        )
    _divides(space, ranks, "is divided over the ranks, so it must be a multiple of")
    for parts in dimension_of(space, "accumulate").values:
        if parts > 1:
            over = "" if ranks == 1 else f" on {ranks} ranks"
            must = f"is divided into accumulate={parts} micro-batches{over}, so it must be a multiple of"
            _divides(space, ranks * parts, must)


def _compiles_or_checkpoints(space: Mapping[str, Dimension]) -> None:
    if dimension_of(space, "activation_checkpointing").holds(True) and dimension_of(space, "compile").holds(True):
        raise SpecError(
            "space.activation_checkpointing: true can't go with compile: true, which decides itself what to compute "
            "again; leave one of them out"
        )


def _divides(space: Mapping[str, Dimension], number: int, must: str) -> None:
    """SpecError where a batch can't be cut into so many equal parts."""
    batch = dimension_of(space, "batch_size")
    if "batch_size" not in space:
        todo = f"it is the default: set space.batch_size, e.g. {64 * number}"
    elif batch.is_listed:
        todo = "change it"
    else:
        todo = f"give a range low and step that are multiples of {number}, or use a list"
    for size in batch.values if batch.is_listed else batch.values[:2]:  # a range's others follow from its first two
        if size % number:
            raise SpecError(f"space.batch_size: {must} {number}, got {size}; {todo}")
