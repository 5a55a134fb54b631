"""Shared memory for the batches that loader processes hand over: a container has 64 MB of it unless told otherwise."""

from tune_cnn.errors import ResourceError
from tune_cnn.spec import StudySpec
from tune_cnn.training.messages import Inspection

BATCHES = 3  # that a loader process may hold at a time: two ahead, and the one that it makes
MB = 10**6


def check_shared_memory(spec: StudySpec, inspection: Inspection, trials: int) -> None:
    """ResourceError where the largest batches of so many trials on a node may not fit into what it has free."""
    free = inspection.shared_memory_bytes
    workers, batch = spec.dimension("loader_workers").largest, spec.dimension("batch_size").largest
    if free is None or not workers or set(spec.dimension("loader").values) == {"device"}:
        return
    channels, height, width = inspection.data.image_shape
    needed = trials * workers * BATCHES * batch * channels * height * width
    if needed > free:
        raise ResourceError(
            f"resources: {trials} trial(s) at a time with {workers} loader process(es) a rank and batches of {batch} "
            f"images of {height}×{width} need {needed / MB:,.0f} MB of shared memory, and /dev/shm has "
            f"{free / MB:,.0f} MB free; give the container more (docker run --shm-size={_enough(needed)}g), or search "
            "smaller batches, fewer loader_workers or resources.slots"
        )


def _enough(needed: int) -> int:
    """Gigabytes, with half as much again for what else is there."""
    return max(1, -(-needed * 3 // (2 * 10**9)))
