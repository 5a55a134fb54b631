"""Make a loader by its kind."""

from tune_cnn.spec.configuration import Loader
from tune_cnn.training.data.loaders.batch import BatchLoader, Plan
from tune_cnn.training.data.loaders.decoding import DecodingLoader
from tune_cnn.training.data.loaders.device import DeviceLoader, ResidentSets
from tune_cnn.training.data.loaders.through_dataloader import WorkerLoader
from tune_cnn.training.data.sources.packed.file import PackReader


def make_loader(plan: Plan, *, kind: Loader, workers: int, resident: ResidentSets | None = None) -> BatchLoader:
    """One rank's loader of a training split.

    `workers` are this rank's loader processes (0: in this process; `device` has none). With `resident` the `device`
    loader finds what an earlier trial brought there; a set that is kept as JPEGs it decodes on the device, each time.
    DataError where the set can't be loaded this way.
    """
    if kind == "device":
        assert workers == 0, "the spec gives `device` no workers"
        if isinstance(plan.images.reader, PackReader):
            return DecodingLoader(plan, plan.images.reader)
        return DeviceLoader(plan, resident)
    return WorkerLoader(plan, per_image=kind == "stream", workers=workers)
