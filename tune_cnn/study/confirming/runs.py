"""The runs that confirm a front: one after another, alone on their hardware, each committed as it ends."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tune_cnn.errors import TrialError
from tune_cnn.front.confirmed import SeedRun, run_end
from tune_cnn.metrics import METRICS, Metric
from tune_cnn.reports.numbers import quantity
from tune_cnn.spec.resources import Phase
from tune_cnn.states import RunState
from tune_cnn.study.checks.resume import keep_machine
from tune_cnn.study.confirming.plan import phase_of
from tune_cnn.study.machine import on_type
from tune_cnn.study.session.jobs import job_template, loop_of, stalls_of
from tune_cnn.study.session.session import Session
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.checkpoints import remove
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.trials.dedicated import Dedicated, ProcessLost, alone, dedicated
from tune_cnn.trials.nodes.losses import Losses
from tune_cnn.trials.trainable import end_of
from tune_cnn.untyped import Plain

TOO_FEW = {
    1: "one seed gives no intervals, because it shows no spread; 3 seeds or more do",
    2: "intervals over two seeds are very wide: 15.6 standard deviations each way; over 3 seeds 5, over 5 seeds 3",
}


class Trainer(Protocol):
    """Who trains a run; the real one is `DedicatedTrainer`."""

    def train(self, run: SeedRun) -> SeedRun | None:
        """The run as it ended, whatever its end; None where the user wants to stop before that."""


def confirm_runs(
    session: Session,
    plan: Sequence[SeedRun],
    trainer: Trainer,
    *,
    stopping: Callable[[], bool],
    ended_here: Callable[[SeedRun], None] = lambda run: None,
    there: str | None = None,
) -> bool:
    """Train the runs that are planned, in the plan's order, and commit each. False where it was stopped before the end.

    What has ended is never trained again: killed at any time, the next start goes on with the first that has not.
    `there`: the type of accelerator, where the study was not searched on it.
    """
    confirmations, objectives = session.store.confirmations, session.spec.objective_metrics
    left = {_id(run) for run in confirmations.runs(session.study, on=there) if run.state is RunState.PLANNED}
    ended = len(plan) - len(left)
    for run in (run for run in plan if _id(run) in left):
        if stopping():
            return False
        done = trainer.train(run)
        if done is None:
            return False
        confirmations.end(session.study, done, on=there)
        ended_here(done)
        ended += 1
        session.report(f"run {ended} of {len(plan)}: {in_words(done, objectives)}")
    return True


def confirm_planned(
    session: Session,
    plan: Sequence[SeedRun],
    *,
    here: Mapping[str, Plain],
    stopping: Callable[[], bool],
    there: str | None = None,
) -> bool:
    """The same on Ray, which must be connected; the checkpoints go once nothing is left to go on with.

    `here`: what `preflight.check` found here, of each type where there are several.
    """
    seeds, points = len({run.number for run in plan}), len({run.key for run in plan})
    session.report(f"confirming {points} point{'s' * (points != 1)} of the front, each alone on its hardware")
    if seeds in TOO_FEW:
        session.report(TOO_FEW[seeds])
    trainer = DedicatedTrainer(session, stopping=stopping, there=there)

    def ended_here(run: SeedRun) -> None:
        keep_machine(session, run, on_type(here, trainer.phase(run).accelerator), there=there)

    whole = confirm_runs(session, plan, trainer, stopping=stopping, ended_here=ended_here, there=there)
    if whole:
        trainer.forget()
    return whole


def _id(run: SeedRun) -> tuple[int, int, int]:
    return run.trial, run.epoch, run.number


def in_words(run: SeedRun, objectives: Sequence[Metric]) -> str:
    what = f"trial {run.trial} at epoch {run.epoch}, seed {run.number + 1}"
    if run.state is not RunState.COMPLETE:
        return f"{what}: {run.state}: {run.reason}"
    values = [f"{m.name} {quantity(run.metrics[m.name], m)}" for m in objectives]
    if "test_accuracy" in run.metrics:
        values.append(f"test_accuracy {quantity(run.metrics['test_accuracy'], METRICS['accuracy'])}")
    return f"{what}: {', '.join(values)}"


class DedicatedTrainer:
    """Trains runs on Ray, one at a time, each in a process of its own.

    The search's trials are warm, but the promise is one that `train` has to keep: what a cold start costs and what
    differs from process to process (where memory lies, what an autotuner chose) belongs to it, and to its spread.
    A trial's own share caps its allocator as in the search and as in `train`; the device is reserved as a whole.
    """

    def __init__(self, session: Session, *, stopping: Callable[[], bool], there: str | None = None) -> None:
        """`there`: as for `confirm_runs`."""
        self._spec, self._locations, self._report = session.spec, session.locations, session.report
        self._trials = {trial.number: trial for trial in session.store.trials(session.study)}
        info = session.record.info
        self._data_key, self._info = info.get("data", {}).get("key"), info
        self._stopping = stopping
        self._power = session.power
        self._slots: dict[Phase, Slots] = {}
        place = "confirm" if there is None else f"confirm-{re.sub(r'[^A-Za-z0-9._-]', '_', there)}"
        self._root = f"{session.locations.checkpoints(session.study)}/{place}"

    def forget(self) -> None:
        """Drop the checkpoints of all runs: there is nothing to go on with."""
        remove(self._root)

    def phase(self, run: SeedRun) -> Phase:
        """Where it is trained."""
        return phase_of(self._trials[run.trial], self._spec)

    def train(self, run: SeedRun) -> SeedRun | None:
        slots = self._slots_of(self.phase(run))  # what can't be had is no fault of the run's
        self._power.hold(slots.power_limit_w)
        losses = Losses()  # as of a searched trial
        while True:
            try:
                job = self._job(run, slots)
                how = {**loop_of(self._locations), **stalls_of(self._spec, self._locations)}
                with dedicated(job, alone(slots), leaving=self._stopping, **how) as training:
                    return self._trained(run, job, training)
            except ProcessLost as error:
                if self._stopping():
                    return None
                if losses.again(run.trial, error.loss, str(error)) is not None:
                    return replace(run, state=RunState.FAILED, reason=str(error))
                self._report(f"{error}; once more, from the last checkpoint")
            except (TrialError, MemoryError) as error:
                state, reason = end_of(error)
                remove(self._folder(run))
                return replace(run, state=RunState(state), reason=reason)

    def _trained(self, run: SeedRun, job: TrainingJob, training: Dedicated) -> SeedRun | None:
        last = training.train(job, lambda result: self._stopping())
        if last.epoch < job.last_epoch:
            if self._stopping() and not last.done:
                return None
            why = f"the training ended after epoch {last.epoch} of {job.last_epoch}"
            return replace(run, state=RunState.FAILED, reason=why)
        metrics = {**last.metrics, "cotenants": 0.0}
        state, reason = run_end(metrics, self._spec.objective_metrics)
        if state is RunState.COMPLETE:
            metrics |= training.test()
        remove(self._folder(run))
        return replace(run, state=state, reason=reason, metrics=metrics if state is RunState.COMPLETE else {})

    def _slots_of(self, phase: Phase) -> Slots:
        if phase not in self._slots:
            self._slots[phase] = phase_slots(self._spec.resources, phase, report=self._report)
        return self._slots[phase]

    def _job(self, run: SeedRun, slots: Slots) -> TrainingJob:
        return replace(
            job_template(self._spec, slots, self._locations),
            trial=run.trial,
            configuration=self._spec.configuration(self._trials[run.trial].params),
            seed=run.seed,
            data_key=self._data_key,
            context_mib=on_type(self._info, slots.accelerator).get("context_mib"),
            cache_dir=str(Path(self._locations.cache_dir).expanduser()),
            checkpoint_dir=self._folder(run),
            stop_epoch=run.epoch,
        )

    def _folder(self, run: SeedRun) -> str:
        return f"{self._root}/{run.trial}-{run.epoch}-{run.number}"
