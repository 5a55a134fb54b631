"""Make a loader by its kind."""

import torch

from tune_cnn.spec.configuration import Loader
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch, BatchLoader, Plan
from tune_cnn.training.data.loaders.device import DeviceLoader, ResidentSets
from tune_cnn.training.data.loaders.evaluate import evaluation_batches
from tune_cnn.training.data.loaders.through_dataloader import WorkerLoader

__all__ = ["Batch", "BatchLoader", "ResidentSets", "evaluation_batches", "make_loader"]


def make_loader(
    images: ImageSet,
    facts: DataFacts,
    *,
    kind: Loader,
    batch_size: int,
    rank: int,
    ranks: int,
    seed: int,
    workers: int,
    augment: str,
    device: torch.device,
    channels_last: bool,
    resident: ResidentSets | None = None,
) -> BatchLoader:
    """One rank's loader of a training split.

    `batch_size` is over all ranks. `workers` are this rank's loader processes (0: in this process; `device` has
    none). With `resident` the `device` loader finds what an earlier trial brought there. DataError where the batch
    is larger than the split, or the set can't be loaded this way.
    """
    plan = Plan(
        images=images,
        facts=facts,
        batch_size=batch_size,
        rank=rank,
        ranks=ranks,
        seed=seed,
        augment=augment,
        device=device,
        channels_last=channels_last,
    )
    if kind == "device":
        assert workers == 0, "the spec gives `device` no workers"
        return DeviceLoader(plan, resident)
    return WorkerLoader(plan, per_image=kind == "stream", workers=workers)
