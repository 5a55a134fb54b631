"""The course of a search: check, connect, run the phases, confirm, close; the same command again goes on."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import Interrupted, ResourceError, TuneCnnError
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.reports.terminal.live import LiveDisplay
from tune_cnn.spec import StudySpec
from tune_cnn.states import StudyState
from tune_cnn.study.archive import open_store
from tune_cnn.study.checks.accelerators import check_others
from tune_cnn.study.checks.preflight import check_measurable, check_unchanged, inspection_call
from tune_cnn.study.checks.resume import check_precisions
from tune_cnn.study.confirming.plan import is_left, plan, settings
from tune_cnn.study.confirming.runs import confirm_planned
from tune_cnn.study.front import Front
from tune_cnn.study.hints import again
from tune_cnn.study.locations import Locations
from tune_cnn.study.questions.asked import refuse_question
from tune_cnn.study.searching.costs import keep_costs
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.study.searching.hooks import raise_failure
from tune_cnn.study.searching.startup import (
    Startup,
    interrupt,
    make_driver,
    reopen_failed,
    warm_params,
    why_nothing_left,
)
from tune_cnn.study.session.failures import failures, nothing_found, paused
from tune_cnn.study.session.jobs import payload_of
from tune_cnn.study.session.session import Session, on_ray
from tune_cnn.study.session.signals import interruptible
from tune_cnn.trials.cluster.code import add_import_folders, code_folders
from tune_cnn.trials.cluster.machines import Slots, nodes, phase_slots
from tune_cnn.trials.tune_loop import open_and_run, run_trials


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    study: str
    state: StudyState  # finished or interrupted
    trials: dict[str, int]
    points: int
    hypervolume: float | None
    front: Front
    report: str | None  # None: it could not be written
    failures: Sequence[str] = ()  # what failed and why, a line each
    runs_page: str | None = None  # where MLflow shows the runs; None where none was delivered yet


class SearchInterrupted(Interrupted):
    """The search ended at the user's wish; `result` is what there is so far."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__(f"study {result.study!r}: interrupted; the same command goes on")
        self.result = result


@left_as_found()
def search(spec: StudySpec, locations: Locations, display: LiveDisplay) -> SearchResult:
    """Search until the budget is spent, or go on with a search that was interrupted. Raises TuneCnnError."""
    with ExitStack() as stack:
        store = open_store(locations.home, create=True)
        stack.callback(store.close)
        store.check_whole()
        session = Session(store=store, spec=spec, locations=locations, report=display.report)
        known = store.study(spec.study)
        if known is not None:
            refuse_question(known, "search")
            if not _only_failed(store, spec.study):
                check_unchanged(known.spec, spec)
            stack.enter_context(store.lease(spec.study, waiting=session.report))
            known = store.study(spec.study)  # whoever held it may have changed it until it ended
            assert known is not None, "it is held now"
            add_import_folders(code_folders(spec.resources.code))  # whether it has changed is looked at now
            reopen_failed(session, known)
        over = why_nothing_left(store, known, spec) if known is not None else None
        if known is not None and over is not None and not is_left(session.archive(), spec):
            session.report(over)
            return _end_without_training(session, known, display)
        is_fresh = known is None or not store.trials(spec.study)
        warm = [params for source in spec.warm_start for params in warm_params(source, locations)] if is_fresh else []
        phases = _connect(session, stack)
        others = check_others(spec, phases, cache_dir=locations.cache_dir, report=session.report)
        startup = Startup(
            session, phases, display, lease=stack, warm=warm, over=over, is_new=known is None, others=others
        )
        return _train(session, startup)


def _only_failed(store: Store, study: str) -> bool:
    """Whether trials have failed and none has given a point: it may be the spec that had to be mended, and nothing is
    lost by that. A search that paused may have left some unfinished."""
    failed = [trial.state.is_failure for trial in store.trials(study)]
    return not store.points(study) and (any(failed) or not failed)


def _connect(session: Session, stack: ExitStack) -> list[Slots]:
    """Join or start Ray until the stack closes; the slots of each phase, ResourceError where there can be none."""
    spec, locations, report = session.spec, session.locations, session.report
    session.power = stack.enter_context(on_ray(spec, locations, report, leaving=session.leaving))
    phases = [phase_slots(spec.resources, phase, report=report) for phase in spec.resources.phases]
    for slots in phases:
        check_measurable(spec, slots.gpu_share)
    session.power.hold(phases[0].power_limit_w)
    if locations.storage is None and len(nodes()) > 1:
        report("checkpoints stay on each node's own disk, and a trial that moves begins again: see --storage")
    return phases


def _train(session: Session, startup: Startup) -> SearchResult:
    """Train in one phase after another, and confirm. The first slot checks what must hold, while the others start."""
    session.report("checking data, model and hardware")
    try:
        with startup.shown:
            driver = _run_phases(session, startup)
            driver.finish()
        if session.spec.confirm is not None and not driver.stopping and driver.front:
            _confirm(session, startup, driver)
        return _close(session, driver)
    except BaseException as end:
        if startup.driver is not None:
            session.give_up(at_once=isinstance(end, KeyboardInterrupt))
        raise


def _run_phases(session: Session, startup: Startup) -> SearchDriver:
    spec, locations, phases = session.spec, session.locations, startup.phases
    first = inspection_call(spec, phases[0], cache_dir=locations.cache_dir)
    open_and_run(startup, payload_of(spec, phases[0], locations, first), phases[0])
    driver = startup.opened
    for number, slots in enumerate(phases[1:], start=2):
        startup.begin_phase(number)
        if driver.trials_to_run != 0 and not driver.stopping:
            session.power.hold(slots.power_limit_w)
            run_trials(driver, payload_of(spec, slots, locations), slots, at_most=driver.trials_to_run)
    return driver


def _confirm(session: Session, startup: Startup, driver: SearchDriver) -> None:
    """Train the front's candidates again, where the spec says so: the slots of the search are free by now."""
    store, spec, checked = session.store, session.spec, startup.checked
    assert checked is not None, "the study is open"
    store.update_study(spec.study, state=StudyState.FINISHED)
    runs = plan(session.archive(), spec, settings(spec, None, None))
    store.confirmations.plan(spec.study, runs)
    try:
        check_precisions(store, spec, checked.spec)
    except ResourceError as error:  # the search itself has gone well
        session.report(f"nothing is confirmed here: {error}")
        return
    with interruptible(lambda: interrupt(driver, session), unheard=session.leaving.unheard):
        confirm_planned(session, runs, here=checked.info, stopping=lambda: driver.interrupted)


def _end_without_training(session: Session, record: StudyRecord, display: LiveDisplay) -> SearchResult:
    """The result of what is stored, delivered to MLflow where it has not been."""
    session.begin_delivery()
    slots = int(record.info.get("hardware", {}).get("slots", 1))
    driver = make_driver(session, {}, slots, display)
    driver.finish()
    return _close(session, driver)


def _close(session: Session, driver: SearchDriver) -> SearchResult:
    store, spec = session.store, session.spec
    raise_failure(driver.failure)
    counts = driver.counts
    nothing = driver.ended and not driver.front and sum(counts.values()) > 0
    # a search that has ended stays so, though its confirmation was interrupted
    ended = StudyState.FINISHED if driver.ended else StudyState.INTERRUPTED
    store.update_study(spec.study, state=StudyState.FAILED if nothing else ended)
    archive = session.archive()
    keep_costs(store, spec, archive)
    files = session.write_report(archive)
    session.drain()
    if nothing:
        raise TuneCnnError(nothing_found(store, spec))
    if driver.alike.pausing:
        raise TuneCnnError(paused(spec.study, driver.alike.reasons, again()))
    result = SearchResult(
        study=spec.study,
        state=StudyState.INTERRUPTED if driver.interrupted else StudyState.FINISHED,
        trials=counts,
        points=len(archive.points),
        hypervolume=driver.hypervolume,
        front=Front(archive),
        report=str(files["report.html"]) if files else None,
        runs_page=session.runs_page(),
        failures=failures(archive.trials, spec),
    )
    if driver.interrupted:
        raise SearchInterrupted(result)
    return result
