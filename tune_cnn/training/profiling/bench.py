"""A rank that measures configurations instead of training them, warm from one to the next."""

from collections.abc import Mapping
from math import fsum
from statistics import fmean

from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.process.seeding import seed_generators
from tune_cnn.training.profiling.measured_training import MeasuredTraining
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.reduction import reduce_metrics
from tune_cnn.training.step.context import TrialContext


class RankBench(RankTraining):
    """`join` once, then `bench` for each configuration; its errors are those of `RankTraining`."""

    def bench(self, job: TrainingJob, *, steps_s: float, beside_s: float, evaluates: bool) -> dict[str, float]:
        """What this configuration's steps cost, over all ranks; equal on them.

        The metrics of the table that training has, and: data_wait_pct, gpu_energy_j_per_image (absent where energy is),
        loader_images_per_s (the loader alone), ceiling_images_per_s (the same step on one resident batch) with its
        ceiling_gpu_util_pct, fixed_pct (of that step, what half a batch takes just as well), and of several ranks
        communication_pct (of that step, what it takes longer than without the others) and slowest_rank_ratio (the
        slowest rank's own step over the mean). taken_pct: of the steps as they are, the time that other work took from
        the thread that steps, on the rank that lost most; absent where the system doesn't tell.

        steps_s: of the steps as they are; beside_s: of each of the others.
        """
        PROGRESS.begin(compiles=job.configuration.compile)
        self.end()
        assert self._group.ranks == job.ranks, "join the group of all ranks first"
        self._set_imports_aside()
        try:
            with PROGRESS.doing(Doing.STARTING), self._faults("profile"):
                context = self._context_now = self._context(job)
                facts = self._facts_of_model(job, context.images)
                context.bring_images()
                seed_generators(job.seed)
                training = MeasuredTraining(context, facts)
                found = _as_trained(training, context, steps_s)
                found |= _beside(training, context, beside_s)
                if evaluates:
                    training.evaluate_once()
                times_s = {name: s for name, s in context.times_s.items() if evaluates or name != "eval_time_s"}
                return found | reduce_metrics(context.group.gather(times_s))
        finally:
            self.end()


def _as_trained(training: MeasuredTraining, context: TrialContext, least_s: float) -> dict[str, float]:
    of_ranks = context.group.gather(training.steps_as_trained(least_s))
    found = reduce_metrics(of_ranks)
    if "taken_pct" in found:
        found["taken_pct"] = max(one["taken_pct"] for one in of_ranks)
    found["data_wait_pct"] = 100 * found["data_wait_s"] / found["train_time_s"]
    if "gpu_energy_j" in found:
        found["gpu_energy_j_per_image"] = found["gpu_energy_j"] / (found["images_per_s"] * found["train_time_s"])
    return found


def _beside(training: MeasuredTraining, context: TrialContext, least_s: float) -> dict[str, float]:
    """The loader without the step, then the step without the loader, without half of its images, without others."""
    group = context.group
    alone = training.loader_alone(least_s)
    batch = alone.batch
    found: dict[str, float] = {"loader_images_per_s": fsum(group.gather(alone.images_per_s))}
    ceiling = reduce_metrics(group.gather(training.resident_steps(batch, least_s)))
    found |= {f"ceiling_{name}": ceiling[name] for name in ("images_per_s", "gpu_util_pct") if name in ceiling}
    half = len(batch.labels_n) // 2
    # Another size would be compiled anew, or taken kernel by kernel where the whole one is replayed as a graph; and
    # batch normalisation can't take one value a channel.
    if half > 1 and not context.job.configuration.compile and not training.replays_steps:
        halved = reduce_metrics(group.gather(training.resident_steps(type(batch)(*(p[:half] for p in batch)), least_s)))
        share = half / len(batch.labels_n)
        found["fixed_pct"] = fixed_pct(ceiling["step_time_ms"], halved["step_time_ms"], share)
    if group.ranks > 1:
        own = group.gather(training.resident_steps(batch, least_s, with_others=False)["step_time_ms"])
        found |= communication(ceiling["step_time_ms"], own)
    return found


def fixed_pct(whole_ms: float, part_ms: float, share: float) -> float:
    """Of a step, the time that doesn't depend on its images, from a step on that share of them: a line through both."""
    fixed_ms = (part_ms - share * whole_ms) / (1 - share)
    return 100 * min(1.0, max(0.0, fixed_ms / whole_ms))


def communication(together_ms: float, own_ms: list[float]) -> Mapping[str, float]:
    """Of a step of all ranks, the share that it takes longer than a rank's own: the network, and waiting for others."""
    mean_ms = fmean(own_ms)
    return {
        "communication_pct": 100 * max(0.0, 1 - mean_ms / together_ms),
        "slowest_rank_ratio": max(own_ms) / mean_ms,
    }
