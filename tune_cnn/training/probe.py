"""What a configuration costs, from some twenty steps of it: seconds, memory, and whether it fits at all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.errors import TrialError
from tune_cnn.training.job import TrainingJob
from tune_cnn.training.rank import RankTraining


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probed configuration; plain data."""

    fits: bool
    reason: str | None = None  # why it doesn't
    step_time_ms: float | None = None
    images_per_s: float | None = None
    peak_memory_mib: float | None = None
    trial_s: float | None = None  # all epochs of it with their evaluations, alone on its hardware


def probe_jobs(jobs: Sequence[TrainingJob], *, steps: int) -> list[Probe]:
    """Probe one job after another in this process, each as one rank with its share of the batch."""
    rank = RankTraining()
    return [_probe(rank, job, steps) for job in jobs]


def _probe(rank: RankTraining, job: TrainingJob, steps: int) -> Probe:
    share = job.configuration.model_copy(update={"batch_size": max(1, job.configuration.batch_size // job.ranks)})
    alone = replace(job, configuration=share, ranks=1, cache_dir=str(Path(job.cache_dir).expanduser()))
    try:
        rank.begin(alone)
        costs, steps_per_epoch = rank.probe(steps)
    except TrialError as error:  # out of memory among them
        return Probe(fits=False, reason=str(error))
    finally:
        rank.end()
    epoch_s = steps_per_epoch / job.ranks * costs["step_time_ms"] / 1000 + costs["eval_time_s"] / job.ranks
    return Probe(
        fits=True,
        step_time_ms=costs["step_time_ms"],
        images_per_s=costs["images_per_s"] * job.ranks,
        peak_memory_mib=costs["peak_memory_mib"],
        trial_s=job.last_epoch * epoch_s + costs["compile_time_s"] + costs["loader_start_s"],
    )
