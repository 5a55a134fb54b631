"""The driver of a search: hands out trials, commits every epoch, and says who goes on."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from tune_cnn.front.constraints import feasible
from tune_cnn.front.hypervolume import FrontTracker
from tune_cnn.metrics import EpochPoint, unusable
from tune_cnn.reports.progress import Progress
from tune_cnn.search.search import Possible, Search
from tune_cnn.spec.resources import Phase
from tune_cnn.states import TrialState
from tune_cnn.study.machine import ACCELERATOR, on_type
from tune_cnn.study.searching.begun import BegunTrials
from tune_cnn.study.searching.budget import BudgetTracker, PhaseEnd
from tune_cnn.study.searching.costs import place_of
from tune_cnn.study.searching.hooks import never_raises
from tune_cnn.study.searching.node_log import NodeLog
from tune_cnn.study.searching.running import RunningTrials
from tune_cnn.study.searching.until_room import StudyWriter
from tune_cnn.study.seeds import trial_seed
from tune_cnn.study.session.failures import AlikeFailures
from tune_cnn.study.session.session import Session
from tune_cnn.trials.nodes.node_health import NodeEvent
from tune_cnn.trials.tune_adapter import Assignment
from tune_cnn.untyped import Plain

log = logging.getLogger(__name__)

TICK_S = 0.25
ANY = Phase()


class SearchDriver:
    """What happens in the driver while trials run; lives for one phase after another of one search."""

    def __init__(
        self,
        session: Session,
        search: Search,
        *,
        slots: int,
        show: Callable[[Progress], None],
        forget: Callable[[int], None],
        over: str | None = None,
    ) -> None:
        """`show` takes the progress, `forget` drops a trial's checkpoints; `over`: why no trial is to be handed out."""
        self.search = search
        self.failure: Exception | None = None
        self.interrupted = False
        self.ended = False
        self.slots = slots
        self._store, self._spec, self._delivery = session.store, session.spec, session.delivery
        self._show, self._forget = show, forget
        self._write = StudyWriter(session, ending=lambda: self.stopping)
        self._nodes = NodeLog(session, self._write)
        self._objectives = session.spec.objective_metrics
        self._bounds = session.spec.bounds
        self._running = RunningTrials(session.spec)
        self._points: dict[int, list[EpochPoint]] = {}  # of running trials
        self._unusable: dict[int, str] = {}  # of running trials: why one of its epochs can't be judged
        self._counts = dict.fromkeys((state for state in TrialState if state.has_ended), 0)
        self._over = over
        self._shown_s = 0.0
        self._phase_end = PhaseEnd()
        self._phase: dict[str, Plain] = {"gpu_share": 0.0}
        self._load()

    def _load(self) -> None:
        """Take up the study where it stands: ended trials count, unfinished ones are trained on first."""
        study = self._store.study(self._spec.study)
        assert study is not None
        self._info, self._data_key = study.info, study.info.get("data", {}).get("key")
        self._here: Mapping[str, Plain] = study.info  # as it holds in this phase
        trials = self._store.trials(self._spec.study)
        self._tracker = FrontTracker(self._objectives, study.reference)
        self._trace: list[float] = []
        points = self._store.points(self._spec.study)
        self._budget = BudgetTracker(
            self._spec.budget, self._spec.min_growth_pct_per_hour, searched_s=study.searched_s, epochs=len(points)
        )
        for point in points:
            self._track(point)
            self._points.setdefault(point.trial, []).append(point)
        for trial in trials:
            if trial.state in self._counts:
                self._counts[trial.state] += 1
                self._points.pop(trial.number, None)
        self.alike = AlikeFailures(went_well=any(t.state.has_result for t in trials))
        unfinished = [t for t in trials if t.state not in self._counts]
        self._begun = BegunTrials(unfinished, has_one_phase=len(self._spec.resources.phases) == 1)
        self._next_number = max((t.number for t in trials), default=-1) + 1

    # What Tune's loop asks (trials.tune_adapter.Driver)

    @never_raises(None)
    def next(self, without: Collection[int] = ()) -> Assignment | None:
        if self.stopping or self.over is not None:
            return None
        begun = self._take_back(without) or self._take_unfinished()
        if begun is not None or self._next_number >= self._last_number:
            return begun
        number = self._next_number
        params = self.search.ask(number, within_s=self._budget.hours_left_s)
        expected_s = self.search.epoch_time_s(params)  # before it teaches the search its own
        self._next_number += 1
        seed = trial_seed(self._spec.seed, number)
        ran = {"slots": self.slots, "place": place_of(self._here), **self._phase}
        self._write.add_trial(number, params, seed=seed, extra=ran)
        return self._start(number, params, seed, expected_s)

    @never_raises(True)
    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        lacking = unusable(metrics, [m.name for m in self._objectives])
        if lacking:
            why = f"epoch {epoch}: {lacking}; an epoch needs a finite number for every objective"
            self._unusable.setdefault(trial, why)
            return True
        if self._write.add_point(trial, epoch, metrics, checkpoint=checkpoint):
            point = EpochPoint(trial=trial, epoch=epoch, metrics=dict(metrics))
            self._budget.epochs += 1
            self._points.setdefault(trial, []).append(point)
            self._track(point)
            stop = self.search.observe(point)
        else:
            stop = False  # an epoch trained again after a resume: the first counts
        self._running.trained(trial, epoch, metrics)
        return stop or self.stopping or self.over is not None

    @never_raises(None)
    def back(self, trial: int) -> None:
        self._begun.come_back(self._running.leave(trial))

    @never_raises(None)
    def on_node(self, event: NodeEvent) -> None:
        self._nodes.hear(event, self._running.time_ratio(event, self._points))

    @never_raises(())
    def past_nodes(self) -> Sequence[NodeEvent]:
        return self._nodes.past()

    @never_raises(None)
    def end(self, trial: int, state: TrialState, reason: str | None) -> None:
        ran_s = self._running.end(trial)
        lacking = self._unusable.pop(trial, None)
        if lacking is not None and state is not TrialState.INFEASIBLE:
            state, reason = TrialState.FAILED, reason or lacking
        if state is TrialState.INTERRUPTED or (state is TrialState.STOPPED and self.stopping):
            return  # stays unfinished in the store; the next start goes on from its checkpoint
        points = self._points.pop(trial, [])
        if state is TrialState.STOPPED:
            reason = reason or self.search.reason(trial) or self.over
        if state.has_result and not points:
            state, reason = TrialState.FAILED, "ended without an epoch"
        self._write.end_trial(trial, state, reason)
        self.search.finish(trial, state, points)
        self._counts[state] += 1
        self.alike.end(state, reason)
        self._fix_reference()
        self._budget.trial_ended(  # a failure says nothing of what is still to be found
            ran_s, self._tracker.hypervolume if state.has_result and self._tracker.reference_is_fixed else None
        )
        self._write.update(searched_s=self._budget.searched_s)
        self._forget(trial)

    @never_raises(True)
    def tick(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._shown_s >= TICK_S:
            self._shown_s = now_s
            self._show(self.progress())
        return self.stopping

    # What the search's course asks

    def fail(self, error: Exception) -> None:
        log.debug("the search stops", exc_info=error)
        self.failure = self.failure or error

    def begin_phase(
        self, gpu_share: float, slots: int, *, end: PhaseEnd, on: Phase = ANY, possible: Possible | None = None
    ) -> None:
        """Hand out trials of one type, GPU share and power up to its end, or the budget's; `possible`: see `Search`."""
        self._phase = {"gpu_share": gpu_share, "power_limit_w": on.power_limit_w, ACCELERATOR: on.accelerator}
        self._here = on_type(self._info, on.accelerator)
        self.slots, self._phase_end = slots, end
        self.search.begin_phase(gpu_share, on.power_limit_w, on.accelerator, possible=possible)

    @property
    def trials_to_run(self) -> int | None:
        """How many trials this phase will hand out; None where only time ends it."""
        if self._last_number == float("inf"):
            return None
        return self._begun.count(self._phase) + max(0, int(self._last_number) - self._next_number)

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.alike.pausing or self.failure is not None

    @property
    def over(self) -> str | None:
        """Why nothing more is trained, where that is not for the number of trials."""
        self._over = self._over or self._budget.why_over()
        return self._over

    @property
    def front(self) -> Sequence[EpochPoint]:
        return self._tracker.points

    @property
    def hypervolume(self) -> float | None:
        return self._tracker.hypervolume if self._tracker.points else None

    @property
    def counts(self) -> dict[str, int]:
        """Ended trials, by state."""
        return {str(state): count for state, count in self._counts.items()}

    def finish(self) -> None:
        """Fix what is still open, unless the search will go on, and show the last state."""
        self.ended = not self.stopping
        if self.ended:
            for trial in self._begun.left():  # the budget was spent before they got another slot
                self.end(trial, TrialState.STOPPED, self.over)
        self._fix_reference(final=self.ended)
        self._write.update(searched_s=self._budget.searched_s)
        self._show(self.progress())

    def progress(self) -> Progress:
        trials, done = self._spec.budget.trials, sum(self._counts.values())
        return Progress(
            study=self._spec.study,
            objectives=self._objectives,
            trials_done=done,
            trials_running=len(self._running),
            trials_failed=sum(count for state, count in self._counts.items() if state.is_failure),
            trials_stopped=self._counts[TrialState.STOPPED],
            trials_budget=trials,
            hours_budget=self._spec.budget.hours,
            epochs_budget=self._spec.budget.epochs,
            elapsed_s=self._budget.searched_s,
            time_left_s=self._budget.left_s(  # by what trials take, never beyond the budget of hours
                to_start=None if trials is None else max(0, trials - done - len(self._running)),
                running_s=self._running.ages_s(),
                slots=self.slots,
                done=done,
            ),
            hypervolume=self.hypervolume,
            hypervolume_trace=self._trace,
            points=self._budget.epochs,
            front=self._tracker.points,
            running=self._running.shown(),
            slots=self.slots,
            mlflow=self._delivery(),
            message=self._message(),
        )

    # Inside

    def _take_back(self, without: Collection[int]) -> Assignment | None:
        assignment = self._begun.take_back(without)
        if assignment is not None:
            self._write.resume_trial(assignment.trial)  # the search knows it, and its points
            self._running.start(assignment, None)
        return assignment

    def _take_unfinished(self) -> Assignment | None:
        trial = self._begun.take_unfinished(self._phase)
        if trial is None:
            return None
        self._write.resume_trial(trial.number)
        self.search.resume(trial.number, trial.params, self._points.get(trial.number, []))
        return self._start(trial.number, trial.params, trial.seed, None)

    def _start(self, number: int, params: Mapping[str, Plain], seed: int, expected_s: float | None) -> Assignment:
        known = {"data_key": self._data_key, "context_mib": self._here.get("context_mib")}
        return self._running.start(Assignment(trial=number, params=params, seed=seed, **known), expected_s)

    def _track(self, point: EpochPoint) -> None:
        if feasible([point], self._bounds) and self._tracker.add(point):
            self._trace.append(self._tracker.hypervolume)

    def _fix_reference(self, *, final: bool = False) -> None:
        """Once for the study: as the search fixed it, or at the end with what there is."""
        if self._tracker.reference_is_fixed or not self._tracker.points:
            return
        if self.search.reference is not None or final:
            reference = self._tracker.fix_reference(self.search.reference)
            self._write.update(reference=reference)

    @property
    def _last_number(self) -> float:
        of_phase = self._phase_end.last_number(self._next_number, self._budget.searched_s)
        return min(self._spec.budget.trials or float("inf"), of_phase)

    def _message(self) -> str | None:
        if not self._budget.epochs and len(self._running):
            return f"starting {self.slots} slot(s)"
        return "ending at the epoch" if self.stopping else self.over
