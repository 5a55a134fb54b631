"""One trial on one rank: its training, its epochs, its clock and its checkpoints."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from tune_cnn.errors import InputError, TrialError
from tune_cnn.spec.prices import priced
from tune_cnn.training.between_steps import BetweenSteps, Leaving, Then
from tune_cnn.training.checkpoint import Checkpoints
from tune_cnn.training.messages import EpochResult, LeftEpoch, TrainingJob
from tune_cnn.training.meters.hardware import by_hardware, place
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.process.seeding import seed_generators
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.reduction import reduce_metrics
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluate
from tune_cnn.training.strategies.framework.training_run import Change
from tune_cnn.training.supervised import SupervisedTraining
from tune_cnn.training.user_code.find import find_training
from tune_cnn.training.user_code.training import UserTraining

WARM_UP_STEPS = 3  # before a probe: the first steps fill caches and start fetching


class Trial:
    """Made anew for each trial; every method but `model` and `close` is called by all ranks alike.

    model_facts: None where the user's own training makes the model.
    """

    def __init__(self, context: TrialContext, model_facts: ModelFacts | None, leaving: Leaving) -> None:
        self._begun_s = time.monotonic()  # the data are ready
        self._former_s = 0.0  # what the trial had taken before it was resumed
        self.context = context
        self._epochs_trained, self._step = 0, 0  # so many epochs, and steps of the next one
        self._is_left = False
        self._reduced: list[dict[str, float]] = []  # the metrics of every epoch so far, over all resumes
        self._checkpoint_path = ""
        job = context.job
        folder = job.checkpoint_dir if context.group.rank == 0 else None
        self._checkpoints = Checkpoints(folder, every_s=job.checkpoint_every_s)
        self._leaving = leaving
        self._between = BetweenSteps(context.group, self._checkpoints.due_within_epoch, leaving)
        context.bring_images()
        seed_generators(job.seed)  # of the weights: equal on all ranks
        self._training: SupervisedTraining | UserTraining
        if job.training is not None:
            self._training = UserTraining(context, find_training(job.training))
        else:
            assert model_facts is not None
            self._training = SupervisedTraining(context, model_facts)
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

    @property
    def learning_rate(self) -> float:
        """Of the next step; the user's own training keeps it to itself."""
        assert isinstance(self._training, SupervisedTraining), "only our own loop has a rate that we know"
        return self._training.first_learning_rate(self._epochs_trained)

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
        self._training.load_state(state["training"], of_rank["training"])
        self._epochs_trained, self._step, self._reduced = state["epoch"], state["step"], state["history"]
        return self._epochs_trained

    def history(self) -> list[EpochResult]:
        """The epochs so far: a checkpoint may hold one that nobody heard of before the search died."""
        return [
            EpochResult(epoch=epoch, metrics=metrics, done=epoch >= self.context.job.last_epoch)
            for epoch, metrics in enumerate(self._reduced, start=1)
        ]

    def train_epoch(self) -> EpochResult | LeftEpoch:
        group, job = self.context.group, self.context.job
        assert self._epochs_trained < job.last_epoch, "the trial has trained all its epochs"
        assert not self._is_left, "the trial was left; begin it again"
        if group.share(self._leaving.asked):
            return self._left()
        seed_generators(job.seed, self._epochs_trained, group.rank)
        self._between.begin(self._step)
        metrics = self._training.train_epoch(self._epochs_trained, self._leave)
        group.check()  # nothing that an aborted collective has touched may be kept
        if metrics is None:
            return self._left()
        self._epochs_trained, self._step = self._epochs_trained + 1, 0
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
            checkpoint=group.share(self._checkpoint_between_epochs()),
            system=by_hardware(self._places, of_ranks),
        )

    def _checkpoint_between_epochs(self) -> str | None:
        """The newest one, if it is of a point."""
        at = self._checkpoints.newest_at
        return self._checkpoint_path if at is not None and not at[1] else None

    def _leave(self, step: int, of: int) -> bool:
        """After a step of the epoch: write a checkpoint where one is due, off the clock; whether to leave."""
        then = self._between.then(step, of)
        if then is Then.GO_ON:
            return False
        self._step = step
        if then is Then.WRITE:
            with self.context.meters.paused():
                self.write_checkpoint()
                self.context.group.share(None)  # the others wait here, and not on the clock
            self._between.begin(step)
        return then is Then.LEAVE

    def _left(self) -> LeftEpoch:
        """The training ends here, with a checkpoint of where it stands."""
        self._is_left, at = True, (self._epochs_trained, self._step)
        if self.context.group.share(self._checkpoints.newest_at != at):
            self.write_checkpoint()
        path = self._checkpoint_path if self._checkpoints.newest_at == at else None
        return LeftEpoch(epoch=at[0], step=at[1], checkpoint=self.context.group.share(path))

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

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """What is done within is no part of the trial's total time."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self._begun_s += time.monotonic() - begun_s

    @PROGRESS.doing(Doing.CHECKPOINTING)
    def write_checkpoint(self) -> str | None:
        """The path of the newest checkpoint now, on rank 0; None where there is none."""
        group = self.context.group
        state = self._training.state()
        of_ranks = group.gather(
            {
                "meters": [meters.state_dict() for meters in self._training.meters],
                "times_s": dict(self.context.times_s),
                "training": self._training.state_of_rank(),
            }
        )
        if group.rank == 0 and state is not None:
            whole = {
                "trained_as": trained_as(self.context.job),
                "epoch": self._epochs_trained,
                "step": self._step,
                "history": self._reduced,
                "total_time_s": self._total_time_s(),
                "checkpoint_time_s": self._checkpoints.checkpoint_time_s,
                "ranks": of_ranks,
                "training": state,
            }
            self._checkpoint_path = self._checkpoints.write(whole, self._epochs_trained, self._step)
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
