"""What a configuration costs, from some twenty steps of it: seconds, memory, and whether it fits at all."""

from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import OutOfMemory, TrialError
from tune_cnn.spec.costs import Cost
from tune_cnn.training.messages import Probe, TrainingJob
from tune_cnn.training.process.mps import cap_sms
from tune_cnn.training.rank import RankTraining


def probe_job(job: TrainingJob, *, steps: int) -> Probe:
    """Probe a job in this process, as one rank with its share of the batch."""
    cap_sms(job.gpu_share)  # in the first probe of this process, whose others have the same share
    share = job.configuration.model_copy(update={"batch_size": max(1, job.configuration.batch_size // job.ranks)})
    alone = replace(job, configuration=share, ranks=1, cache_dir=str(Path(job.cache_dir).expanduser()))
    rank = RankTraining()
    try:
        rank.begin(alone)
        costs, steps_per_epoch = rank.probe(steps)
    except TrialError as error:
        return Probe(reason=str(error), out_of_memory=isinstance(error, OutOfMemory))
    finally:
        rank.end()
    return Probe(
        cost=Cost(
            step_time_s=costs["step_time_ms"] / 1000,
            steps_per_epoch=steps_per_epoch / job.ranks,
            eval_time_s=costs["eval_time_s"] / job.ranks,
            peak_memory_mib=costs["peak_memory_mib"],
            start_time_s=costs["compile_time_s"] + costs["loader_start_s"],
        )
    )
