"""What a node with a trial's resources says before any trial starts: the images, the model, the hardware."""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from tune_cnn.errors import DataError, SpecError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.calls import find_call
from tune_cnn.training.data.facts import DataFacts, check_batch
from tune_cnn.training.data.operations.drawn import check_channels
from tune_cnn.training.data.sources.user_data import check_repeats
from tune_cnn.training.data.sources.user_items import UserReader
from tune_cnn.training.images_for_model import prepare_for
from tune_cnn.training.inspection.device import inspect_device
from tune_cnn.training.inspection.evaluation import check_evaluation
from tune_cnn.training.inspection.fine_tuning import check_fine_tuning
from tune_cnn.training.inspection.loaders import inspect_loaders
from tune_cnn.training.inspection.optimizers import check_optimizers
from tune_cnn.training.inspection.strategies import inspect_strategies
from tune_cnn.training.messages import Inspection
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.models.registry import check_model, layers_without_determinism, takes_batches_of_one
from tune_cnn.training.step.precision import supported_precisions
from tune_cnn.training.user_code.find import check_training
from tune_cnn.untyped import Plain

SHARED_MEMORY = Path("/dev/shm")  # no folder of ours: where Linux keeps it


def inspect_node(spec: StudySpec, *, cuda: bool, cache_dir: str) -> Inspection:
    """Prepare the images, build the model in every shape that is searched, find the user's code. Raises InputError.

    First the device, which takes no time and may make all the rest vain.
    """
    device = inspect_device(cuda=cuda, compiles=spec.dimension("compile").holds(True))
    folder = Path(cache_dir).expanduser()
    images = prepare_for(spec.model, spec.data, split_seed=spec.seed, cache_dir=folder)
    if isinstance(images.train.reader, UserReader):
        check_repeats(images.train.reader, Path(spec.data.root), spec.seed)
    data = images.facts
    _check_batches(spec, data)
    _check_channels(spec, data)
    for name, own in spec.metrics.items():
        if own.call is not None:
            find_call(own.call, where=f"metrics.{name}.call")
    model = None
    if spec.training is not None:
        check_training(spec)
    else:
        check_optimizers(spec)
        model = _check_models(spec, data)
        _check_single(spec, data)
        check_evaluation(spec, data, _variants(spec)[0])
        check_fine_tuning(spec, data, _variants(spec))
        if cuda and spec.resources.deterministic:
            check_deterministic(spec, data)
    return Inspection(
        data=data,
        model=model,
        strategies=inspect_strategies(spec, images, cache_dir=folder),
        precisions=supported_precisions(cuda),
        loaders=inspect_loaders(spec, images, cuda=cuda),
        device=device,
        shared_memory_bytes=_shared_memory_bytes(),
        hardware={"cpu": _cpu_name(), "machine": platform.machine(), "system": platform.system(), **device.hardware},
        versions={"torch": str(torch.__version__), "torchvision": version("torchvision"), **_cuda_version(cuda)},
    )


def _check_batches(spec: StudySpec, data: DataFacts) -> None:
    batch = spec.dimension("batch_size")
    for size in {batch.smallest, batch.largest}:
        try:
            check_batch(data, size, spec.resources.ranks)
        except DataError as error:
            raise SpecError(f"space.{error}") from None


def _check_channels(spec: StudySpec, data: DataFacts) -> None:
    for augment in spec.dimension("augment").values:
        try:
            check_channels(augment, data.in_channels)
        except DataError as error:
            raise SpecError(f"space.{error}") from None


def _variants(spec: StudySpec) -> list[dict[str, Plain]]:
    """The model's arguments: each value of each of them, the others at their first."""
    dimensions = {k.removeprefix("model."): d for k, d in spec.space.items() if k.startswith("model.")}
    values = {name: dimension.ends for name, dimension in dimensions.items()}
    first = {name: tried[0] for name, tried in values.items()}
    return [first] + [{**first, name: value} for name, tried in values.items() for value in tried[1:]]


def _check_models(spec: StudySpec, data: DataFacts) -> ModelFacts:
    """Build the model in each of its variants."""
    facts = [
        check_model(
            spec.model.name,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            weights=spec.model.weights,
            arguments=arguments,
        )
        for arguments in _variants(spec)
    ]
    return facts[0]


def check_deterministic(spec: StudySpec, data: DataFacts) -> None:
    """Refuse a model with a layer that can't be deterministic on a GPU: torch would end each trial in its backward."""
    for arguments in _variants(spec):
        layers = layers_without_determinism(
            spec.model.name,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            image_size=data.image_size,
            arguments=arguments,
        )
        if layers:
            given = "".join(f" with {name}={value!r}" for name, value in arguments.items())
            raise SpecError(
                f"resources.deterministic: model {spec.model.name!r}{given} has {', '.join(layers)}, whose gradient is "
                "not deterministic on a GPU; set deterministic: false, or choose another model"
            )


def _check_single(spec: StudySpec, data: DataFacts) -> None:
    """Refuse a batch of one image a rank where the model can't train on it. (What is left at an epoch's end joins.)"""
    parts = spec.dimension("accumulate").largest
    smallest, ranks = spec.dimension("batch_size").smallest, spec.resources.ranks * parts
    if smallest == ranks and not takes_batches_of_one(
        spec.model.name,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        image_size=data.image_size,
        arguments=_variants(spec)[0],
    ):
        raise SpecError(
            f"space.batch_size: model {spec.model.name!r} can't train on one image a rank"
            f"{' and micro-batch' if parts > 1 else ''}, as batch normalisation needs two values a channel, got "
            f"{smallest}; search batches of {2 * ranks} or more"
        )


def _shared_memory_bytes() -> int | None:
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cuda_version(cuda: bool) -> dict[str, str]:
    return {"cuda": str(torch.version.cuda)} if cuda else {}
