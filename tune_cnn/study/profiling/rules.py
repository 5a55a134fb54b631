"""What holds a cell's steps up, by rules whose numbers the page shows as they stand here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# The step itself decides from here on: what is left is the turn of an epoch, and chance.
REACHED_PCT = 80.0
# A share of the time that is worth mending.
WAIT_PCT = 20.0
# The loader alone must be that much above the step alone, or two queues that keep pace get into each other's way.
ROOM = 0.9
# Half of a step that doesn't depend on its images: twice the batch is then half again as fast, or better.
FIXED_PCT = 50.0
# Below, a GPU has nothing to do for so much of the time, though no data is waited for.
BUSY_PCT = 70.0
# A slowest rank that takes that many times as long as the mean: the others wait for it, not for the network.
SLOWEST = 1.15
# Other work that takes more than that of a step's time decides what is seen: nothing of it is kept.
DISTURBED_PCT = 10.0
# Repeats that differ by more, in the median cell, can't tell cells apart that differ by half of that.
NOISY_PCT = 20.0
NEAR_PCT = 2.0  # the fewest workers are looked for that near to the best

Metrics = Mapping[str, float]


class Bound(StrEnum):
    """What holds a cell up."""

    LOADER = "loader"
    COMPUTE = "compute"
    HOST = "host"  # launching kernels, Python, the update: or cores that loader and step take from each other
    COMMUNICATION = "communication"
    MEMORY = "memory"
    FAILED = "failed"


NAMES = {
    Bound.LOADER: "loader-bound",
    Bound.COMPUTE: "compute-bound",
    Bound.HOST: "launch- or host-bound",
    Bound.COMMUNICATION: "communication-bound",
    Bound.MEMORY: "out of memory",
    Bound.FAILED: "failed",
}
REMEDIES = {
    Bound.LOADER: "more loader workers, the batched or device loader, or images decoded beforehand",
    Bound.COMPUTE: "a smaller model, another precision, or a faster device: the loader has room",
    Bound.HOST: "a larger batch, compile or captured steps; where loader and step share cores, more cores",
    Bound.COMMUNICATION: "a larger batch on each rank, fewer ranks, or a faster network between them",
    Bound.MEMORY: "a smaller batch, or a precision of 16 bits",
}


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What holds a cell up, and by which numbers that is told."""

    bound: Bound
    why: str


def is_disturbed(metrics: Metrics) -> bool:
    """Whether other work on the machine took too much of the time for the numbers to say what the cell costs."""
    return metrics.get("taken_pct", 0.0) > DISTURBED_PCT


def reached_pct(metrics: Metrics) -> float:
    """The share of the ceiling that is reached; chance may lift it a little above 100."""
    return 100 * metrics["images_per_s"] / metrics["ceiling_images_per_s"]


def expected_images_per_s(loader: float, ceiling: float, *, at_once: bool) -> float:
    """What loader and step come to together: the slower one where they work at once, else one after the other."""
    return min(loader, ceiling) if at_once else 1 / (1 / loader + 1 / ceiling)


def stall_of(metrics: Metrics, *, workers: int) -> Stall:
    """Of a cell that was measured: the largest of what its steps lose, else what the step itself is made of.

    `workers`: loader processes of a rank; without any, the step waits while its batch is made.
    """
    reached = reached_pct(metrics)
    lost_outside = 100 - reached
    lost_to_ranks = metrics.get("communication_pct", 0.0) * min(reached, 100.0) / 100
    if lost_to_ranks >= WAIT_PCT and lost_to_ranks > lost_outside:
        return Stall(bound=Bound.COMMUNICATION, why=_ranks_wait(metrics))
    return _outside_the_step(metrics, reached, workers) if reached < REACHED_PCT else _of_the_step(metrics, reached)


def _outside_the_step(metrics: Metrics, reached: float, workers: int) -> Stall:
    loader, ceiling = metrics["loader_images_per_s"], metrics["ceiling_images_per_s"]
    possible = expected_images_per_s(loader, ceiling, at_once=workers > 0)
    waits = metrics.get("data_wait_pct", 0.0)
    alone = f"the loader alone delivers {loader / ceiling:.2g} times what the step takes"
    told = f"{reached:.0f} % of the ceiling; {alone}"
    if possible < ROOM * ceiling or waits >= WAIT_PCT:
        return Stall(bound=Bound.LOADER, why=f"{told}, and {waits:.0f} % of the time is waiting for data")
    return Stall(bound=Bound.HOST, why=f"{told}: together they take each other's cores")


def _of_the_step(metrics: Metrics, reached: float) -> Stall:
    fixed, busy = metrics.get("fixed_pct"), metrics.get("ceiling_gpu_util_pct")
    told = f"{reached:.0f} % of the ceiling"
    if busy is not None and busy < BUSY_PCT:
        return Stall(bound=Bound.HOST, why=f"{told}, at which the GPU is busy {busy:.0f} % of the time")
    if fixed is not None and fixed >= FIXED_PCT:
        return Stall(bound=Bound.HOST, why=f"{told}, and {fixed:.0f} % of a step doesn't depend on its images")
    if busy is not None:
        told += f", at which the GPU is busy {busy:.0f} % of the time"
    return Stall(bound=Bound.COMPUTE, why=told)


def _ranks_wait(metrics: Metrics) -> str:
    told = f"{metrics['communication_pct']:.0f} % of a step is for the other ranks"
    slowest = metrics.get("slowest_rank_ratio", 1.0)
    if slowest >= SLOWEST:
        return f"{told}, as the slowest takes {slowest:.2f} times as long as the mean: they wait for it"
    return f"{told}: their own steps take equally long, so it is the exchange of gradients"


def in_words() -> list[tuple[str, str, str]]:
    """The rules for the page: the stall's name, when it is given, and what mends it."""
    less, more = f"less than {REACHED_PCT:.0f} % of the ceiling is reached", "that much or more is reached"
    when = {
        Bound.LOADER: f"{less}, and loader and step, each alone, come together to less than {100 * ROOM:.0f} % of it "
        "(the slower one where loader processes work beside the step, else one after the other), or "
        f"{WAIT_PCT:.0f} % of the time or more is waiting for data",
        Bound.HOST: f"{less}, though neither the loader alone nor the step alone explains it; or {more}, and at the "
        f"ceiling the GPU is busy less than {BUSY_PCT:.0f} % of the time, or {FIXED_PCT:.0f} % of a step or more "
        "doesn't depend on its images",
        Bound.COMPUTE: f"{REACHED_PCT:.0f} % of the ceiling or more is reached, and the step is busy with its images",
        Bound.COMMUNICATION: f"{WAIT_PCT:.0f} % of the time or more is for other ranks (a step, beside a rank's own "
        f"without averaging gradients), and that is more than what is lost outside the step; the others wait for the "
        f"slowest where it takes {SLOWEST:g} times as long as the mean, else for the exchange",
        Bound.MEMORY: "the cell ended for want of memory",
    }
    return [(NAMES[bound], told, REMEDIES[bound]) for bound, told in when.items()]


def near_best(values: Sequence[float]) -> list[bool]:
    """Which of some throughputs are as good as the best one."""
    return [value >= max(values) * (1 - NEAR_PCT / 100) for value in values]
