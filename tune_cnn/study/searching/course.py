"""The course of a search: check, connect, run the phases, close; the same command again goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, Interrupted, ResourceError, StoreError, StudyError, TuneCnnError
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.mlflow.environment import absolute_uri, runs_page, shown_uri
from tune_cnn.records.outbox.handle import Outbox, start_outbox
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.reports.terminal.live import LiveDisplay
from tune_cnn.search.search import Search
from tune_cnn.spec import StudySpec
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import StudyState
from tune_cnn.study.archive import open_store, read_archive
from tune_cnn.study.checks.preflight import Checked, check_measurable, check_unchanged, checked_with, inspection_call
from tune_cnn.study.checks.resume import check_precisions, search_on
from tune_cnn.study.confirming.plan import is_left, plan, settings
from tune_cnn.study.confirming.runs import confirm_planned
from tune_cnn.study.failures import nothing_found
from tune_cnn.study.front import Front
from tune_cnn.study.locations import Locations, job_template, payload_of, user_calls
from tune_cnn.study.searching.costs import keep_costs
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.study.searching.startup import last_of_phase, search_of, teach_costs, warm_params, why_nothing_left
from tune_cnn.study.signals import interruptible, terminable
from tune_cnn.training.found import Inspection
from tune_cnn.trials.checkpoints import forget
from tune_cnn.trials.cluster import Slots, connected, fit, nodes
from tune_cnn.trials.tune_loop import open_and_run, run_trials
from tune_cnn.untyped import Plain

__all__ = ["Locations", "SearchInterrupted", "SearchResult", "job_template", "search", "user_calls", "warm_params"]

log = logging.getLogger(__name__)

DRAIN_S = 60.0  # what MLflow may still take at the end; the rest waits for `sync` or the next start
AWAY_S = 3.0  # the same while its server doesn't answer


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    study: str
    state: StudyState  # finished or interrupted
    trials: dict[str, int]
    points: int
    hypervolume: float | None
    front: Front
    report: str | None  # None: it could not be written
    runs_page: str | None = None  # where MLflow shows the runs; None where it has not been told of them yet


@left_as_found()
def search(spec: StudySpec, locations: Locations, *, display: LiveDisplay, say: Callable[[str], None]) -> SearchResult:
    """Search until the budget is spent, or go on with a search that was interrupted. Raises TuneCnnError."""
    store = open_store(locations.home, create=True)
    with ExitStack() as stack:
        stack.callback(store.close)
        known = store.study(spec.study)
        if known is not None:
            check_unchanged(known.spec, spec)
            stack.enter_context(store.lease(spec.study))
        fresh = known is None or not store.trials(spec.study)
        warm = [params for source in spec.warm_start for params in warm_params(source, locations)] if fresh else []
        course = _Course(store, spec, locations, warm, display=display, say=say)
        nothing_left = why_nothing_left(store, known, spec) if known is not None else None
        if known is not None and nothing_left and not is_left(read_archive(spec.study, locations.home, None), spec):
            say(nothing_left)
            return course.end_without_training(known)
        course.over = nothing_left
        say("starting Ray" if locations.address is None else f"joining the Ray cluster at {locations.address}")
        calls, code = user_calls(spec), spec.resources.code
        stack.enter_context(connected(locations.address, code=code, calls=calls, quiet=not locations.debug))
        stack.enter_context(terminable())
        phases = [fit(spec.resources, share, say=say) for share in spec.resources.gpu_phases]
        for slots in phases:
            check_measurable(spec, slots.gpu_share)
        if locations.storage is None and len(nodes()) > 1:
            say("checkpoints stay on each node's own disk, and a trial that moves begins again: see --storage")
        return course.run(phases, study_is_new=known is None, lease=stack)


class _Course:
    """From the slots' start to the result."""

    def __init__(
        self,
        store: Store,
        spec: StudySpec,
        locations: Locations,
        warm: Sequence[Mapping[str, Plain]],
        *,
        display: LiveDisplay,
        say: Callable[[str], None],
    ) -> None:
        self._store, self._spec, self._locations, self._warm = store, spec, locations, warm
        self._display, self._say = display, say
        self._outbox: Outbox | None = None
        self._begun: tuple[Search, SearchDriver] | None = None
        self._checked: Checked | None = None  # what the inspection found
        self.over: str | None = None  # why nothing is left to search, where something is left to confirm

    def run(self, phases: Sequence[Slots], *, study_is_new: bool, lease: ExitStack) -> SearchResult:
        """Train in one phase after another. The first slot checks what must hold, while the others start."""
        store, spec, locations, say = self._store, self._spec, self._locations, self._say
        say("checking data, model and hardware")
        try:
            with ExitStack() as shown:

                def opening(found: Inspection) -> SearchDriver:
                    checked = checked_with(spec, phases[0], found)
                    self._open_study(checked, study_is_new, lease)
                    driver = self._begin(checked, phases)
                    shown.enter_context(self._display)
                    shown.enter_context(interruptible(lambda: _interrupt(driver, self._display)))
                    return driver

                first = inspection_call(spec, phases[0], cache_dir=locations.cache_dir)
                open_and_run(opening, payload_of(spec, phases[0], locations, first), phases[0])
                assert self._begun is not None, "the phase has begun"
                _, driver = self._begun
                for number, slots in enumerate(phases[1:], start=2):
                    self._begin_phase(number, phases)
                    if driver.trials_to_run != 0 and not driver.stopping:
                        run_trials(driver, payload_of(spec, slots, locations), slots, at_most=driver.trials_to_run)
                driver.finish()
            if spec.confirm is not None and not driver.stopping and driver.front:
                self._confirm(driver)
            return _close(store, spec, driver, self._outbox, locations, say)
        except BaseException as end:
            if self._begun is not None:
                _give_up(store, spec.study, self._outbox, at_once=isinstance(end, KeyboardInterrupt))
            raise

    def end_without_training(self, record: StudyRecord) -> SearchResult:
        """The result of what is stored, told to MLflow where it has not been."""
        slots = int(record.info.get("hardware", {}).get("slots", 1))
        _, driver = self._driver(self._spec, {}, slots)
        driver.finish()
        return _close(self._store, self._spec, driver, self._outbox, self._locations, self._say)

    def _open_study(self, checked: Checked, study_is_new: bool, lease: ExitStack) -> None:
        store, spec = self._store, self._spec
        for note in checked.notes:
            self._say(note)
        if study_is_new:
            store.create_study(spec.study, spec.model_dump(), info=checked.info)
            lease.enter_context(store.lease(spec.study))
        else:
            info = search_on(store, spec, checked.info, self._say)
            # what has ended a search stays its end
            state = StudyState.RUNNING if self.over is None else StudyState.FINISHED
            store.update_study(spec.study, spec=spec.model_dump(), state=state, info=info)

    def _begin(self, checked: Checked, phases: Sequence[Slots]) -> SearchDriver:
        spec, slots = checked.spec, phases[0]
        self._begun = _, driver = self._driver(spec, checked.cards, slots.count)
        self._checked = checked
        self._begin_phase(1, phases)
        return driver

    def _begin_phase(self, number: int, phases: Sequence[Slots]) -> None:
        assert self._begun is not None and self._checked is not None, "the study is open"
        searcher, driver = self._begun
        slots, last = phases[number - 1], last_of_phase(self._spec, number, len(phases))
        driver.begin_phase(slots.gpu_share, slots.count, last_number=last)
        teach_costs(searcher, self._store, self._spec, self._checked.info, slots)

    def _confirm(self, driver: SearchDriver) -> None:
        """Train the front's candidates again, where the spec says so: the slots of the search are free by now."""
        assert self._checked is not None, "the study is open"
        store, spec, locations, say = self._store, self._spec, self._locations, self._say
        store.update_study(spec.study, state=StudyState.FINISHED)
        runs = plan(read_archive(spec.study, locations.home, None), spec, settings(spec, None, None))
        store.confirmations.plan(spec.study, runs)
        try:
            check_precisions(store, spec, self._checked.spec)
        except ResourceError as error:  # the search itself has gone well
            say(f"nothing is confirmed here: {error}")
            return
        found, stopping = self._checked.info, lambda: driver.interrupted
        with interruptible(lambda: _interrupt(driver, self._display)):
            confirm_planned(store, spec, runs, locations, found=found, stopping=stopping, say=say)

    def _driver(self, spec: StudySpec, cards: Cards, slots: int) -> tuple[Search, SearchDriver]:
        searcher = search_of(self._store, spec, cards, self._warm, self._say)
        self._outbox = begin_delivery(self._store, spec.study, self._locations, self._say)
        driver = SearchDriver(
            self._store,
            spec,
            searcher,
            slots=slots,
            show=self._display.update,
            mlflow=lambda: _delivery(self._outbox),
            forget=lambda trial: forget(self._locations.checkpoints(spec.study), trial),
            over=self.over,
        )
        return searcher, driver


def begin_delivery(store: Store, study: str, locations: Locations, say: Callable[[str], None]) -> Outbox | None:
    try:
        return start_outbox(store, study, locations.tracking_uri, folder=locations.folder(study))
    except StoreError as error:
        say(f"MLflow is not told for now, the study keeps all: {error}")
        return None


def _delivery(outbox: Outbox | None) -> str | None:
    if outbox is None:
        return None
    _refuse_taken(outbox)
    status = outbox.status()
    return str(status).removeprefix("MLflow: ") if status.error or status.pending > 50 else None


def _refuse_taken(outbox: Outbox) -> None:
    """InputError where MLflow's server holds something else by the study's name."""
    if taken := outbox.taken:
        raise InputError(f"{taken}. What was trained is kept in the home.")


def _interrupt(driver: SearchDriver, display: LiveDisplay) -> None:
    driver.interrupted = True
    display.say("Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once.")


def drain(store: Store, study: str, outbox: Outbox | None, locations: Locations, say: Callable[[str], None]) -> None:
    """Let MLflow have the rest, for a while."""
    if outbox is not None and (pending := store.pending(study)):
        say(f"telling MLflow the last {pending} changes")
    why = outbox.status().error if outbox is not None else None
    waiting = outbox.finish(AWAY_S if why else DRAIN_S) if outbox is not None else store.pending(study)
    if outbox is not None:
        _refuse_taken(outbox)
    if waiting:
        say(
            f"MLflow: {waiting} changes wait{f' ({why})' if why else ''}; nothing is lost: "
            f"`{locations.commands(study).sync}` delivers them"
        )


def _close(
    store: Store,
    spec: StudySpec,
    driver: SearchDriver,
    outbox: Outbox | None,
    locations: Locations,
    say: Callable[[str], None],
) -> SearchResult:
    driver.raise_failure()
    counts = driver.counts
    nothing = driver.ended and not driver.front and sum(counts.values()) > 0
    # a search that has ended stays so, though its confirmation was interrupted
    ended = StudyState.FINISHED if driver.ended else StudyState.INTERRUPTED
    store.update_study(spec.study, state=StudyState.FAILED if nothing else ended)
    archive = read_archive(spec.study, locations.home, None)
    keep_costs(store, spec, archive)
    files = _report(archive, locations, say)
    for name, path in files.items():
        store.add_artifact(spec.study, path, name)
    drain(store, spec.study, outbox, locations, say)
    if nothing:
        raise TuneCnnError(nothing_found(store, spec))
    result = SearchResult(
        study=spec.study,
        state=StudyState.INTERRUPTED if driver.interrupted else StudyState.FINISHED,
        trials=counts,
        points=len(archive.points),
        hypervolume=driver.hypervolume,
        front=Front(archive),
        report=str(files["report.html"]) if files else None,
        runs_page=_runs_page(store, spec.study, locations),
    )
    if driver.interrupted:
        raise SearchInterrupted(result)
    return result


def _runs_page(store: Store, study: str, locations: Locations) -> str | None:
    record = store.study(study)
    uri = absolute_uri(locations.tracking_uri)
    if record is None or record.experiment_id is None or record.tracking != shown_uri(uri):
        return None  # no server has been told of it yet, or another one
    return runs_page(uri, record.experiment_id)


def _report(archive: StudyArchive, locations: Locations, say: Callable[[str], None]) -> Mapping[str, Path]:
    """The files to look at. A search whose points are all stored has not failed because a file could not be written."""
    from tune_cnn.study.report import report_files  # with it come plotly and matplotlib, wanted at the end alone

    study = archive.study.name
    try:
        return report_files(archive, locations.folder(study), commands=locations.commands(study))
    except (OSError, InputError) as error:
        say(f"the report is not written ({error}); `{locations.commands(study).report}` writes it from the store")
        return {}


class SearchInterrupted(Interrupted):
    """The search ended at the user's wish; `result` is what there is so far."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__(f"study {result.study!r}: interrupted; the same command goes on")
        self.result = result


def _give_up(store: Store, study: str, outbox: Outbox | None, *, at_once: bool) -> None:
    """Leave things as they are after a failure: what is stored is stored, MLflow hears of it later."""
    try:
        record = store.study(study)
        if record is not None and record.state is StudyState.RUNNING:  # one that has ended keeps the state it ended in
            store.update_study(study, state=StudyState.INTERRUPTED)
        if outbox is not None and at_once:
            outbox.kill()
        elif outbox is not None:
            outbox.finish(5.0)
    except (StoreError, StudyError) as error:
        log.debug("the study's state could not be written, or MLflow not told: %s", error)
