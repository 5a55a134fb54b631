"""One run of a comparison: a cell trained with one seed, alone on its hardware or beside others, epoch by epoch."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import TrialError
from tune_cnn.metrics import unusable
from tune_cnn.spec import StudySpec
from tune_cnn.states import TrialState
from tune_cnn.study.comparing.cells import changed
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.study.session.jobs import job_template, loop_of, stalls_of
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.trials.checkpoints import folder_of, forget
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.trials.dedicated import Dedicated, ProcessLost, alone, dedicated
from tune_cnn.trials.nodes.losses import Losses
from tune_cnn.trials.trainable import end_of

End = tuple[TrialState, str | None]


class Trainer:
    """Trains runs on Ray. Alone each has a process of its own, as `confirm` and `train` do it; beside others a lane's
    process stays warm from run to run."""

    def __init__(self, here: Here, *, beside: bool) -> None:
        self._here, self._beside = here, beside
        self._warm = threading.local()  # a lane's process, by the thread that the lane is

    def train(self, number: int, run: Run) -> None:
        """Commit the run's points and its end; nothing of an end where the user wants to stop before it."""
        store, session = self._here.session.store, self._here.session
        spec = changed(self._here.spec, run.extra["changes"])
        slots = phase_slots(spec.resources, spec.resources.phases[0])
        job, losses = self._job(number, run, spec, slots), Losses()
        end: End | None = None
        while end is None:
            try:
                end = self._trained(job, self._process(job, spec, slots))
                if end is None:
                    return
            except ProcessLost as error:
                self._drop()
                if losses.again(number, error.loss, str(error)) is not None:
                    end = (TrialState.FAILED, str(error))
                else:
                    session.report(f"{error}; once more, from the last checkpoint")
            except (TrialError, MemoryError) as error:
                self._drop()  # after a failure a group of several ranks is ended
                end = end_of(error)
            finally:
                if not self._beside:
                    self._drop()
        store.end_trial(session.study, number, *end)
        forget(session.locations.checkpoints(session.study), number)

    def _trained(self, job: TrainingJob, training: Dedicated) -> End | None:
        """The run's end; None where it was stopped before that."""

        def told(result: EpochResult) -> bool:
            if not (result.done or result.epoch >= job.last_epoch):  # the last one waits for the test split
                self._commit(job, result, {})
            return self._here.stopping()

        last = training.train(job, told, past=told)
        ended = last.done or last.epoch >= job.last_epoch
        if not ended:
            return None
        why = unusable(last.metrics, [m.name for m in self._here.spec.objective_metrics])
        self._commit(job, last, {} if why is not None else training.test())
        if why is not None:
            return TrialState.FAILED, why
        if last.epoch < job.last_epoch:
            return TrialState.STOPPED, f"the training ended after epoch {last.epoch} of {job.last_epoch}"
        return TrialState.COMPLETE, None

    def _commit(self, job: TrainingJob, result: EpochResult, tested: dict[str, float]) -> None:
        cotenants = {} if self._beside else {"cotenants": 0.0}
        metrics = {**result.metrics, **cotenants, **tested, **result.system}
        session = self._here.session
        session.store.add_point(session.study, job.trial, result.epoch, metrics, checkpoint=result.checkpoint)

    def _process(self, job: TrainingJob, spec: StudySpec, slots: Slots) -> Dedicated:
        if (warm := getattr(self._warm, "training", None)) is not None:
            training: Dedicated = warm
            return training
        stack = self._warm.stack = ExitStack()
        how = {**loop_of(self._here.session.locations), **stalls_of(spec, self._here.session.locations)}
        room = replace(slots, count=1) if self._beside else alone(slots)
        training = self._warm.training = stack.enter_context(dedicated(job, room, left=self._here.left, **how))
        self._here.lasting.callback(stack.close)
        return training

    def _drop(self) -> None:
        """End the lane's process."""
        if getattr(self._warm, "training", None) is not None:
            self._warm.training = None
            self._warm.stack.close()

    def _job(self, number: int, run: Run, spec: StudySpec, slots: Slots) -> TrainingJob:
        locations, info = self._here.session.locations, self._here.checked.info
        return replace(
            job_template(spec, slots, locations),
            trial=number,
            configuration=spec.configuration(run.params),
            seed=run.seed,
            data_key=run.extra["data_key"],
            context_mib=info["context_mib"],
            cache_dir=str(Path(locations.cache_dir).expanduser()),
            checkpoint_dir=folder_of(locations.checkpoints(spec.study), number),
            stop_epoch=run.extra.get("stop_epoch"),
        )
