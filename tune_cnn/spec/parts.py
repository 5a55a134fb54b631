"""The parts of a study's spec: data, model, metrics and bounds, budget, sampler."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tune_cnn.errors import SpecError, StudyError, nearest
from tune_cnn.spec.addresses import without_secrets
from tune_cnn.spec.calls import LIGHTNING, is_call
from tune_cnn.text import printable
from tune_cnn.untyped import Plain

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
CALL = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
# Sets known by name; the readers stand in training/data/sources, and a test holds the two together.
DATA_NAMES = ("digits", "fashion_mnist", "cifar10", "cifar100", "svhn", "image_folder")
# Kinds of sets, each with what its colon is followed by; a FILE is found from data.root.
DATA_KINDS = {"csv": "FILE", "hf": "NAME", "npz": "FILE", "torchvision": "NAME", "webdataset": "PATTERN"}
WEIGHT_FILES = frozenset({".safetensors", ".pth", ".pt", ".bin", ".tar"})
WITH_COLUMNS = ("csv", "hf")

CacheKind = Literal["auto", "pixels", "jpeg", "small_jpeg", "none"]


def study_name(name: str) -> str:
    """The name itself, where it is safe as a folder, a table key and an MLflow experiment."""
    if not NAME.fullmatch(name):
        raise StudyError(
            f"study: a name is 1 to 128 of A-Z a-z 0-9 . _ - and starts with a letter or digit, got {name[:140]!r}"
        )
    return name


def absolute(path: str) -> str:
    """The path from the root; ValueError where it can't be told to others."""
    try:
        found = str(Path(path).expanduser().absolute())
    except RuntimeError:  # ~somebody who has no home here
        raise ValueError(f"there is no home folder for {path.split('/')[0]!r}; write the path out") from None
    try:
        found.encode()
    except UnicodeEncodeError:  # a working folder may have such a name; neither Ray nor a database takes it
        raise ValueError(
            f"has bytes in its path that are no UTF-8 ({printable(found)}); rename the folder, or reach it by a link "
            "with another name"
        ) from None
    return found


def _call(text: str) -> str:
    if not CALL.fullmatch(text):
        raise ValueError(f"must be package.module:name, got {text!r}")
    return text


def _training(text: str) -> str:
    if not CALL.fullmatch(text.removeprefix(LIGHTNING)):
        raise ValueError(f"must be package.module:name or lightning:package.module:Class, got {text!r}")
    return text


Call = Annotated[str, AfterValidator(_call)]
Training = Annotated[str, AfterValidator(_training)]
Filled = Annotated[str, Field(min_length=1)]


class SpecPart(BaseModel):
    """A section of a spec: strict, frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Columns(SpecPart):
    """Names of a table's columns."""

    image: Filled | None = Field(None, description="the column of the images, or of the paths of their files")
    label: Filled | None = Field(None, description="the column of the classes")
    split: Filled | None = Field(None, description="csv: the column that says train, val or test")


class DataSpec(SpecPart):
    """Which images."""

    name: Annotated[Filled, AfterValidator(without_secrets)] = Field(
        description=f"{', '.join((*DATA_NAMES, *(f'{k}:{what}' for k, what in DATA_KINDS.items())))} or your own as "
        "package.module:name"
    )
    root: Filled = Field(
        "./data",
        validate_default=True,
        description="folder of the images, from the working directory; made absolute when the spec is loaded",
    )
    columns: Columns | None = Field(None, description="which columns of a table are what, where the guess is wrong")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training set held out, by seed and class")
    test: float = Field(0.1, gt=0, lt=1, description="share split off for testing, where the set has no test part")
    subset: int | None = Field(None, ge=2, description="use this many training images only, drawn by seed and class")
    image_size: int | None = Field(None, ge=1, description="resize to this side in pixels (image_folder: default 224)")
    offline: bool = Field(False, description="never download")
    max_broken: int = Field(0, ge=0, description="unreadable images that image_folder and csv may leave out, named")
    max_pixels: int = Field(100_000_000, ge=1, description="pixels of one file that may be decoded")
    cache: CacheKind = Field(
        "auto",
        description="how image_folder, csv and webdataset keep images: pixels, jpeg (the files in one), small_jpeg "
        "(copies of image_size), none (read each time); auto: pixels, or jpeg where they exceed TUNE_CNN_DISK_GB",
    )
    max_blank: float = Field(
        0.5, ge=0, le=1, description="share of a class's training images that may be blank, that is nearly constant"
    )
    max_shared: float = Field(
        0.01, ge=0, le=1, description="share of validation or test images that may be equal to training images"
    )

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: str) -> str:
        return absolute(root)

    @model_validator(mode="after")
    def _tables_have_columns(self) -> Self:
        kind = self.name.partition(":")[0]
        if self.columns is not None and kind not in WITH_COLUMNS:
            raise ValueError(f"columns are of {' and '.join(WITH_COLUMNS)}, and {self.name} has none; leave them out")
        return self

    @model_validator(mode="after")
    def _files_may_be_left_out(self) -> Self:
        if self.max_broken and self.name != "image_folder" and self.name.partition(":")[0] != "csv":
            raise ValueError(
                f"max_broken={self.max_broken} is for image_folder and csv: of {self.name} every image must be "
                "readable; leave it out"
            )
        return self


def check_data_name(name: str) -> None:
    """SpecError where it names no set of ours, no kind with what it is a kind of, and no code."""
    kind, _, which = name.partition(":")
    if kind in DATA_KINDS:
        if not which:
            raise SpecError(f"data.name: {kind} must be followed by what to read, as {kind}:{DATA_KINDS[kind]}")
        return
    if name not in DATA_NAMES and not (CALL.fullmatch(name) and is_call(name)):
        near = nearest(name, DATA_NAMES, "your own is named as package.module:name")
        raise SpecError(f"data.name: there is no data set {name!r}{near}")


class ModelSpec(SpecPart):
    """Which network. Its factory's arguments stand in `space` as `model.<argument>`."""

    name: Filled = Field(
        description="small_cnn, lenet5, resnet8, resnet20, resnet32, resnet56, densenet_bc_100_12, dpn92, a "
        "classification model of torchvision, timm:NAME or your own as package.module:name"
    )
    weights: Filled | None = Field(
        None, description="pretrained weights of torchvision or timm, e.g. DEFAULT; with timm also a file, by its path"
    )

    @field_validator("name")
    @classmethod
    def _callable(cls, name: str) -> str:
        if name == "timm:":
            raise ValueError("timm: must be followed by a model's name, as timm:resnet18")
        return _call(name) if is_call(name) else name

    @field_validator("weights")
    @classmethod
    def _found_from_anywhere(cls, weights: str | None) -> str | None:
        """A file's path from the root: trials run in other folders."""
        is_file = weights is not None and ("/" in weights or Path(weights).suffix in WEIGHT_FILES)
        return absolute(weights) if weights is not None and is_file else weights


class Bound(SpecPart):
    """A constraint on a metric."""

    max: float | None = Field(None, description="the metric may be this at most")
    min: float | None = Field(None, description="the metric must be this at least")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("needs max, min or both, as in {max: 20000}; got neither")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min must be at most max, got min={self.min:g}, max={self.max:g}; nothing lies between")
        return self


class UserMetric(SpecPart):
    """A metric of your own: call(model, loader) -> float after each epoch, or what your own training yields."""

    call: Call | None = Field(
        None,
        description="package.module:name, called as f(model, loader) -> float; absent where your training yields it",
    )
    unit: str = Field(description="unit to show, `1` for a share or a count")
    direction: Literal["max", "min"] = Field(description="which way is better")


class Budget(SpecPart):
    """What a search may spend: whichever comes first, counted over all resumes."""

    trials: int | None = Field(None, ge=1, description="trials at most, those of earlier starts among them")
    hours: float | None = Field(None, gt=0, description="hours of searching at most, over all starts")
    epochs: int | None = Field(
        None, ge=1, description="epochs to train, all trials together; those that run when it is reached still count"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.trials is None and self.hours is None and self.epochs is None:
            raise ValueError(
                "needs trials, hours, epochs or more of them, as in {trials: 100}; a search without any never ends"
            )
        return self


class StopperSpec(SpecPart):
    """Which trials end before their horizon."""

    name: Literal["no_hypervolume_gain", "none"] = Field(
        "no_hypervolume_gain",
        description="no_hypervolume_gain: a trial ends when its curve, with the most that it could plausibly still "
        "gain, adds no hypervolume; none: every trial trains to its horizon",
    )
    boldness: float = Field(
        0.5,
        ge=0,
        le=1,
        description="no_hypervolume_gain: how readily a trial ends. At 1 its curve is expected to gain what others "
        "gained on average; below 1 at least the largest gain that was seen, and the more the lower it is",
    )


class ConfirmSpec(SpecPart):
    """Front candidates to be trained again, alone on their hardware, once the search has ended."""

    points: int = Field(
        5,
        ge=1,
        description="candidates: the knee, the best in the first objective, and then those "
        "that carry most of the front's hypervolume",
    )
    seeds: int = Field(3, ge=1, description="trainings of each, with seeds of their own; an interval needs two")


# Which sampler takes which argument.
SAMPLER_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "curve_ehvi": ("n_startup_trials",),
    "tpe": ("n_startup_trials", "n_ei_candidates", "multivariate", "group", "constant_liar"),
    "gp": ("n_startup_trials", "deterministic_objective"),
    "nsga2": ("population_size", "crossover_prob", "swapping_prob", "mutation_prob"),
    "random": (),
    "qmc": ("qmc_type", "scramble"),
}


class SamplerSpec(SpecPart):
    """Who proposes configurations; the other keys are Optuna's arguments, with Optuna's defaults unless said."""

    name: Literal["curve_ehvi", "tpe", "gp", "nsga2", "random", "qmc"] = Field(
        "curve_ehvi",
        description="curve_ehvi: our own; a model of the learning curves finds the configuration with the largest "
        "expected hypervolume improvement (EHVI) per second; the others are Optuna's",
    )
    n_startup_trials: int | None = Field(None, ge=0, description="curve_ehvi, tpe, gp: trials before the model")
    n_ei_candidates: int | None = Field(None, ge=1, description="tpe: candidates a proposal is the best of")
    multivariate: bool | None = Field(None, description="tpe: model the parameters jointly; true where it is not set")
    group: bool | None = Field(None, description="tpe: model conditional parameters by group; true where it is not set")
    constant_liar: bool | None = Field(None, description="tpe: keep away from what is running")
    deterministic_objective: bool | None = Field(None, description="gp: take the objectives to be without noise")
    population_size: int | None = Field(None, ge=2, description="nsga2: trials a generation")
    crossover_prob: float | None = Field(None, ge=0, le=1, description="nsga2: probability of a crossover")
    swapping_prob: float | None = Field(None, ge=0, le=1, description="nsga2: probability that parents swap a value")
    mutation_prob: float | None = Field(None, ge=0, le=1, description="nsga2: probability that a value mutates")
    qmc_type: Literal["sobol", "halton"] | None = Field(None, description="qmc: sequence")
    scramble: bool | None = Field(None, description="qmc: scramble the sequence by seed; true where it is not set")

    @property
    def arguments(self) -> dict[str, Plain]:
        """What was set, by Optuna's names."""
        return {key: value for key, value in self.model_dump(exclude_none=True).items() if key != "name"}

    @model_validator(mode="after")
    def _takes(self) -> Self:
        taken = SAMPLER_ARGUMENTS[self.name]
        for key in self.arguments:
            if key not in taken:
                takes = f"it takes {', '.join(taken)}" if taken else "it takes no arguments"
                raise ValueError(f"{self.name} takes no {key}; {takes}")
        if self.group and self.multivariate is False:
            raise ValueError("group: true needs multivariate: true, got multivariate: false; drop one")
        return self
