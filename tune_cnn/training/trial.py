"""One trial on one rank: its training, its epochs, its clock and its checkpoints."""

import json
import time
from collections.abc import Mapping

from torch import nn

from tune_cnn.errors import InputError, TrialError
from tune_cnn.spec.prices import priced
from tune_cnn.training.checkpoint import Checkpoints
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.meters.hardware import by_hardware, place
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.process.seeding import seed_generators
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.reduction import reduce_metrics
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluate
from tune_cnn.training.strategies.framework.training_run import Change
from tune_cnn.training.supervised import SupervisedTraining
from tune_cnn.training.user_code.training import UserTraining

WARM_UP_STEPS = 3  # before a probe: the first steps fill caches and start fetching


class Trial:
    """Made anew for each trial; every method but `model` and `close` is called by all ranks alike.

    model_facts: None where the user's own training makes the model.
    """

    def __init__(self, context: TrialContext, model_facts: ModelFacts | None) -> None:
        self._begun_s = time.monotonic()  # the data are ready
        self._former_s = 0.0  # what the trial had taken before it was resumed
        self.context = context
        self._epochs_trained = 0
        self._reduced: list[dict[str, float]] = []  # the metrics of every epoch so far, over all resumes
        self._checkpoint_path = ""
        job = context.job
        folder = job.checkpoint_dir if context.group.rank == 0 else None
        self._checkpoints = Checkpoints(folder, every_s=job.checkpoint_every_s)
        context.bring_images()
        seed_generators(job.seed)  # of the weights: equal on all ranks
        self._training: SupervisedTraining | UserTraining = (
            UserTraining(context) if model_facts is None else SupervisedTraining(context, model_facts)
        )
        self._places = context.group.gather(place(context.device))
        context.meters.begin()

    @property
    def shows_model(self) -> bool:
        """Whether it is known which model is trained; the user's own training may keep it to itself."""
        return self._training.model is not None

    @property
    def model(self) -> nn.Module:
        model = self._training.model
        if model is None:
            raise InputError(
                f"training {self.context.job.training}: its weights are unknown; "
                "let it make the model by rank.build_model(), or name it by rank.track(model)"
            )
        return model

    @property
    def changes(self) -> list[Change]:
        """What strategies have made of the factory's model, where it must be made again for its weights to fit."""
        kept = self._training.changes if isinstance(self._training, SupervisedTraining) else []
        return [change for change in kept if change.get("exported", True)]

    def resume(self) -> int:
        """Go on from the newest checkpoint, if any: rank 0 reads it. Returns the epochs trained so far."""
        found = self.context.group.share(self._checkpoints.newest())
        if found is None:
            return 0
        state, self._checkpoint_path = found
        if state.get("trained_as") != trained_as(self.context.job):
            raise TrialError(
                f"checkpoint {self._checkpoint_path}: written by another configuration, seed or data set; "
                "give the trial a folder of its own"
            )
        of_rank = state["ranks"][self.context.group.rank]
        for meters, meters_state in zip(self._training.meters, of_rank["meters"], strict=True):
            meters.load_state_dict(meters_state)
        for name, seconds in of_rank["times_s"].items():
            self.context.times_s[name] += seconds
        self._former_s = state["total_time_s"]
        self._checkpoints.checkpoint_time_s += state["checkpoint_time_s"] if self.context.group.rank == 0 else 0.0
        self._training.load_state(state["training"])
        self._epochs_trained, self._reduced = state["epoch"], state["history"]
        return self._epochs_trained

    def history(self) -> list[EpochResult]:
        """The epochs so far: a checkpoint may hold one that nobody heard of before the search died."""
        return [
            EpochResult(epoch=epoch, metrics=metrics, done=epoch >= self.context.job.last_epoch)
            for epoch, metrics in enumerate(self._reduced, start=1)
        ]

    def train_epoch(self) -> EpochResult:
        group, job = self.context.group, self.context.job
        assert self._epochs_trained < job.last_epoch, "the trial has trained all its epochs"
        seed_generators(job.seed, self._epochs_trained, group.rank)
        metrics = self._training.train_epoch(self._epochs_trained)
        group.check()  # nothing that an aborted collective has touched may be kept
        self._epochs_trained += 1
        of_ranks = group.gather(self._with_costs(metrics))
        reduced = reduce_metrics(of_ranks)
        reduced = priced(reduced, job.prices) | reduced  # a metric of the user's own goes before ours
        self._reduced.append(reduced)
        if group.share(self._checkpoints.due()):  # its time is told with the next epoch
            self.write_checkpoint()
        return EpochResult(
            epoch=self._epochs_trained,
            metrics=reduced,
            done=self._epochs_trained >= job.last_epoch,
            checkpoint=group.share(self._checkpoint_path) or None,
            system=by_hardware(self._places, of_ranks),
        )

    def probe(self, steps: int) -> tuple[dict[str, float], int]:
        """This rank's costs of some steps and one evaluation, and the steps of an epoch. The trial is spent by it."""
        assert isinstance(self._training, SupervisedTraining), "only our own loop has steps"
        self._training.probe(WARM_UP_STEPS)
        steps_per_epoch = self._training.probe(steps)
        with self.context.timed("eval_time_s"):
            evaluate(self.model, self.context, self.context.images.validation)
        return self._with_costs({}), steps_per_epoch

    def _with_costs(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """This rank's metrics with what they cost; a metric of the user's own goes before ours."""
        costs = self._training.read_meters() | self.context.times_s
        costs["checkpoint_time_s"] = self._checkpoints.checkpoint_time_s
        costs["total_time_s"] = self._total_time_s()
        return costs | dict(metrics)

    def _total_time_s(self) -> float:
        return self._former_s + time.monotonic() - self._begun_s

    @PROGRESS.doing(Doing.CHECKPOINTING)
    def write_checkpoint(self) -> str | None:
        """The path of the newest checkpoint now, on rank 0; None where there is none."""
        group = self.context.group
        state = self._training.state()
        of_ranks = group.gather(
            {
                "meters": [meters.state_dict() for meters in self._training.meters],
                "times_s": dict(self.context.times_s),
            }
        )
        if group.rank == 0 and state is not None:
            whole = {
                "trained_as": trained_as(self.context.job),
                "epoch": self._epochs_trained,
                "history": self._reduced,
                "total_time_s": self._total_time_s(),
                "checkpoint_time_s": self._checkpoints.checkpoint_time_s,
                "ranks": of_ranks,
                "training": state,
            }
            self._checkpoint_path = self._checkpoints.write(whole, self._epochs_trained)
        return self._checkpoint_path or None

    def close(self) -> None:
        """End what the user's training holds; the context's own things end with it."""
        if isinstance(self._training, UserTraining):
            self._training.close()


def trained_as(job: TrainingJob) -> str:
    """All of a job that decides which weights come out: a checkpoint goes on under the same only."""
    return json.dumps(
        {
            "configuration": job.configuration.params(),
            "data": job.data.model_dump(exclude={"root", "offline"}),
            "model": job.model.model_dump(),
            "training": job.training,
            "ranks": job.ranks,
            "seed": job.seed,
            "split_seed": job.split_seed,
            "all_data": job.all_data,
        },
        sort_keys=True,
        default=str,
    )
