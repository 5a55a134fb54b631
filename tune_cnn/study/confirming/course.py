"""The course of `confirm`: plan, connect, train what is left, deliver it to MLflow; the same command again goes on."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import Interrupted, TuneCnnError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.states import RunState
from tune_cnn.study.archive import open_store, read_archive, spec_of
from tune_cnn.study.asked import refuse_question
from tune_cnn.study.checks.preflight import check, check_measurable
from tune_cnn.study.checks.resume import check_confirmable
from tune_cnn.study.confirming.plan import phase_of, plan, settings
from tune_cnn.study.confirming.runs import confirm_planned
from tune_cnn.study.failures import nothing_confirmed
from tune_cnn.study.front import Front
from tune_cnn.study.locations import Locations
from tune_cnn.study.session import Report, Session, on_ray
from tune_cnn.study.signals import ENDING, interruptible
from tune_cnn.trials.cluster import phase_slots
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class ConfirmResult:
    study: str
    front: Front
    report: str | None  # None: it could not be written


class ConfirmInterrupted(Interrupted):
    """Confirming ended at the user's wish; `result` is what there is so far."""

    def __init__(self, result: ConfirmResult) -> None:
        super().__init__(f"study {result.study!r}: confirming is interrupted; the same command goes on")
        self.result = result


@left_as_found()
def confirm(
    study: str, locations: Locations, *, points: int | None = None, seeds: int | None = None, report: Report
) -> ConfirmResult:
    """Train candidates of a study's front again, over several seeds, or go on with it. Raises TuneCnnError.

    `points`, `seeds`: instead of the spec's. More of either later only add runs.
    """
    known = read_archive(study, locations.home, None)  # says what is wrong, where there is no such study
    refuse_question(known.study, "confirm")
    with ExitStack() as stack:
        store = open_store(locations.home)
        stack.callback(store.close)
        stack.enter_context(store.lease(study))
        archive = read_archive(study, locations.home, None)
        session = Session(store=store, spec=spec_of(archive), locations=locations, report=report)
        runs = plan(archive, session.spec, settings(session.spec, points, seeds))
        store.confirmations.plan(study, runs)
        if all(run.state is not RunState.PLANNED for run in store.confirmations.runs(study)):
            report(f"study {study}: all of its runs have ended already; more with --points or --seeds")
            session.begin_delivery()
            result = _result(session)
            session.drain()
        else:
            result = _run(session, runs, stack)
        if not result.front.confirmed:
            raise TuneCnnError(nothing_confirmed(store, session.spec))
        return result


def _run(session: Session, runs: list[SeedRun], stack: ExitStack) -> ConfirmResult:
    session.power = stack.enter_context(
        on_ray(session.spec, session.locations, session.report, leaving=session.leaving)
    )
    here = _as_searched(session, runs)
    session.begin_delivery()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        session.report(ENDING)
        session.leaving.hurry()

    session.leaving.first(session.leave_outbox)
    try:
        with interruptible(stop, unheard=session.leaving.unheard):
            whole = confirm_planned(session, runs, here=here, stopping=lambda: stopped)
        result = _result(session)
        session.drain()
    except BaseException:
        session.leave_outbox()
        raise
    if not whole:
        raise ConfirmInterrupted(result)
    return result


def _as_searched(session: Session, runs: list[SeedRun]) -> Mapping[str, Plain]:
    """Refuse other images than the search's, and hardware that can't; say what else is not as it was then.

    What was found here.
    """
    spec = session.spec
    phases = {trial.number: phase_of(trial) for trial in session.store.trials(session.study)}
    for phase in dict.fromkeys(phases[run.trial] for run in runs):
        slots = phase_slots(spec.resources, phase, report=session.report)
        check_measurable(spec, slots.gpu_share)
    session.power.hold(slots.power_limit_w)
    checked = check(spec, replace(slots, count=1), cache_dir=session.locations.cache_dir)
    check_confirmable(session, checked.spec, checked.info)
    return checked.info


def _result(session: Session) -> ConfirmResult:
    """What is confirmed so far, with the report and the figures written anew."""
    archive = session.archive()
    files = session.write_report(archive)
    page = str(files["report.html"]) if files else None
    return ConfirmResult(study=session.study, front=Front(archive), report=page)
