"""What is asked for, held against the spec before anything is started."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tune_cnn.errors import InputError, nearest
from tune_cnn.spec import StudySpec
from tune_cnn.spec.calls import find_call
from tune_cnn.training.gradients.measured import CONTROL, METRICS
from tune_cnn.trials.cluster.code import add_import_folders, code_folders
from tune_cnn.untyped import Plain

WHERE = "--metric"
PERCEPTUAL = "perceptual"  # the one metric that looks with a network of torchvision's
BACKBONE, WEIGHTS = "alexnet", "pretrained"


@dataclass(frozen=True, kw_only=True)
class AskedFor:
    """A question of `gradients`, whatever hardware it meets."""

    metrics: tuple[str, ...]
    every: int = 1  # epochs
    seeds: int = 1  # trainings
    control: bool = True  # random mini-batches too
    backbone: str = BACKBONE
    weights: str = WEIGHTS  # of the backbone

    def __post_init__(self) -> None:
        for name in self.metrics:
            if ":" in name:
                find_call(name, where=WHERE)
            elif name not in METRICS:
                near = nearest(name, METRICS, "a function of yours is named as package.module:name")
                raise InputError(f"{WHERE}: there is no metric {name!r}{near}")
        if len(set(self.metrics)) < len(self.metrics):
            raise InputError(f"{WHERE}: each metric must stand once, got {','.join(self.metrics)}")
        for name, value in (("--every", self.every), ("--seeds", self.seeds)):
            if value < 1:
                raise InputError(f"{name}: must be at least 1, got {value}")
        if self.weights not in ("pretrained", "random"):
            raise InputError(f"--weights: must be pretrained or random, got {self.weights!r}")

    def as_plain(self) -> dict[str, Plain]:
        return {**asdict(self), "metrics": list(self.metrics)}

    @property
    def orders(self) -> tuple[str, ...]:
        """The control first: its full gradient serves all where images don't depend on each other."""
        return ((CONTROL,) if self.control else ()) + self.metrics

    def measured_epochs(self, epochs: int) -> list[int]:
        return list(range(0, epochs, self.every))


def asked_for(
    metrics: str, spec: StudySpec, *, backbone: str | None = None, weights: str | None = None, **how: Plain
) -> AskedFor:
    """`metrics`: names, with commas between; functions are looked for where the spec's code is. Raises InputError.

    `backbone`, `weights`: None where they were not given, as without `perceptual` they mean nothing.
    """
    add_import_folders(code_folders(spec.resources.code))
    names = tuple(name for part in metrics.split(",") if (name := part.strip()))
    if not names:
        raise InputError(f"{WHERE}: names at least one metric of {', '.join(METRICS)}, or package.module:name")
    for option, given in (("--backbone", backbone), ("--weights", weights)):
        if given is not None and PERCEPTUAL not in names:
            raise InputError(
                f"{option}: is of the network that {PERCEPTUAL} looks with, and {WHERE} doesn't name that metric, got "
                f"{given!r}; leave it out, or add {PERCEPTUAL}"
            )
    return AskedFor(metrics=names, backbone=backbone or BACKBONE, weights=weights or WEIGHTS, **how)


def check_spec(spec: StudySpec) -> None:
    """InputError where the spec leaves something open, or trains in a way whose gradients can't be told."""
    if spec.searched:
        names = list(spec.searched)
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InputError(
            f"gradients: measures one configuration, and the spec leaves {shown} open; give each one value, as with "
            f"--set space.{names[0]}=VALUE, or take what `export` wrote"
        )
    if spec.training is not None:
        raise InputError(
            f"gradients: the spec's own training, {spec.training}, keeps its loss to itself; leave `training` out"
        )
    if spec.configuration({}).class_sampling != "random":
        raise InputError(
            "gradients: measures the gradient of each training image once, and class_sampling: balanced repeats some "
            "and leaves others out; leave space.class_sampling out"
        )
    on = spec.configuration({}).strategies_on
    if on:
        raise InputError(
            f"gradients: measures the gradient of the plain cross-entropy, which {', '.join(on)} may change; leave "
            "space.strategies out"
        )


def check_images(asked: AskedFor, facts: Mapping[str, Plain]) -> None:
    """InputError where a metric can't be had of these images. `facts`: as the study's info tells of its data."""
    if "colour" in asked.metrics and facts["in_channels"] != 3:
        raise InputError(
            f"{WHERE}: colour needs images of three channels, {facts['name']} has {facts['in_channels']}; leave it out"
        )
