"""The spec as this hardware can search it, on these images: in a list, what can't be is dropped and said.

Fixed, or with nothing left, it is an error.
"""

from collections.abc import Mapping

from tune_cnn.errors import SpecError
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.training.data.order import joining
from tune_cnn.training.messages import Inspection, LoadersFound
from tune_cnn.untyped import Plain


def adapt(spec: StudySpec, inspection: Inspection, *, cuda: bool) -> tuple[StudySpec, list[str]]:
    """The spec without what can't be, and a note on each thing that is left out. Raises SpecError."""
    by_precision, notes = _drop_precisions(spec, inspection.precisions, cuda=cuda)
    by_compile, why_not = _drop_compile(by_precision, inspection.device.without_compile)
    by_loader, more = _drop_loaders(by_compile, inspection.loaders)
    adapted, last = _drop_processes(by_loader, inspection.loaders)
    return adapted, [*notes, *why_not, *more, *last]


def joined_batches(spec: StudySpec, inspection: Inspection) -> list[str]:
    """A note on the batches after which a few images are left, which then join the last batch."""
    images, ranks = inspection.data.train_images, spec.resources.ranks
    left = [size for size in spec.dimension("batch_size").ends if joining(images, size, ranks)]
    if not left:
        return []
    sizes = ", ".join(map(str, left))
    return [f"at an epoch's end one image a rank would be left with batches of {sizes}: it joins the batch before it"]


def _drop_precisions(spec: StudySpec, supported: frozenset[str], *, cuda: bool) -> tuple[StudySpec, list[str]]:
    asked = spec.dimension("precision").values
    kept = [p for p in asked if p in supported]
    lacking = ", ".join(p for p in asked if p not in supported)
    if not lacking:
        return spec, []
    device = "this GPU" if cuda else "a CPU"
    if not kept:
        raise SpecError(f"space.precision: {device} has no {lacking}; it has {', '.join(sorted(supported))}")
    return _with(spec, "precision", kept), [f"precision {lacking} is left out, because {device} does not support it"]


def _drop_compile(spec: StudySpec, why: str | None) -> tuple[StudySpec, list[str]]:
    compiling = spec.dimension("compile")
    if why is None or not compiling.holds(True):
        return spec, []
    if not compiling.holds(False):
        raise SpecError(f"space.compile: torch.compile can't work here: {why}, or leave compile out")
    return _with(spec, "compile", [False]), [f"compile is left out: {why}"]


def _drop_loaders(spec: StudySpec, found: LoadersFound) -> tuple[StudySpec, list[str]]:
    asked = spec.dimension("loader").values
    return _without(spec, {loader: why for loader, why in found.impossible.items() if loader in asked})


def _drop_processes(spec: StudySpec, found: LoadersFound) -> tuple[StudySpec, list[str]]:
    """Where another loader takes the processes, those that can't have them go; else the processes do."""
    asked, workers = spec.dimension("loader").values, spec.dimension("loader_workers")
    stay = {loader: why for loader, why in found.without_processes.items() if loader in asked}
    if not stay or workers.largest == 0:
        return spec, []
    if set(asked) - {"device", *stay}:
        return _without(spec, {loader: f"in a process of its own {why}" for loader, why in stay.items()})
    why = next(iter(stay.values()))
    if not workers.holds(0):
        raise SpecError(f"space.loader_workers: a loader process {why}")
    return _with(spec, "loader_workers", [0]), [f"loader_workers is 0, because a loader process {why}"]


def _without(spec: StudySpec, gone: Mapping[str, str]) -> tuple[StudySpec, list[str]]:
    """The spec without these loaders, each with its reason."""
    kept = [loader for loader in spec.dimension("loader").values if loader not in gone]
    if not gone:
        return spec, []
    if not kept:
        told = "; ".join(f"{loader} {why}" for loader, why in gone.items())
        raise SpecError(f"space.loader: {told}; set loader to batched or stream")
    return _with(spec, "loader", kept), [f"loader {name} is left out: it {why}" for name, why in gone.items()]


def _with(spec: StudySpec, key: str, values: list[Plain]) -> StudySpec:
    raw = spec.model_dump()
    raw["space"][key] = values if len(values) > 1 else values[0]
    return parse_spec(raw)
