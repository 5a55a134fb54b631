"""The course of `confirm`: plan, connect, train what is left, deliver it to MLflow; the same command again goes on."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import Interrupted, TuneCnnError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.spec import StudySpec
from tune_cnn.states import RunState
from tune_cnn.study.accelerators import as_there, searched_types
from tune_cnn.study.archive import open_store, read_archive, spec_of
from tune_cnn.study.checks.preflight import check, check_measurable
from tune_cnn.study.checks.resume import check_confirmable
from tune_cnn.study.confirming.plan import phase_of, plan, settings
from tune_cnn.study.confirming.runs import confirm_planned
from tune_cnn.study.front import Front
from tune_cnn.study.locations import Locations
from tune_cnn.study.machine import by_type
from tune_cnn.study.questions.asked import refuse_question
from tune_cnn.study.session.failures import nothing_confirmed
from tune_cnn.study.session.session import Report, Session, on_ray
from tune_cnn.study.session.signals import LEAVING, interruptible
from tune_cnn.trials.cluster.machines import Slots, phase_slots
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
    study: str,
    locations: Locations,
    *,
    points: int | None = None,
    seeds: int | None = None,
    accelerator: str | None = None,
    report: Report,
) -> ConfirmResult:
    """Train candidates of a study's front again, over several seeds, or go on with it. Raises TuneCnnError.

    `points`, `seeds`: instead of the spec's. More of either later only add runs. `accelerator`: a type of accelerator:
    the front's points that were searched on it, or, where none was, what `transfer` has predicted for it.
    """
    known = read_archive(study, locations.home, None)  # says what is wrong, where there is no such study
    refuse_question(known.study, "confirm")
    with ExitStack() as stack:
        store = open_store(locations.home)
        stack.callback(store.close)
        stack.enter_context(store.lease(study, waiting=report))
        archive = read_archive(study, locations.home, None)
        session = Session(store=store, spec=spec_on(spec_of(archive), accelerator), locations=locations, report=report)
        runs = plan(archive, session.spec, settings(session.spec, points, seeds), on=accelerator)
        there = None if accelerator in searched_types(archive) else accelerator
        store.confirmations.plan(study, runs, on=there)
        if all(run.state is not RunState.PLANNED for run in store.confirmations.runs(study, on=there)):
            report(f"study {study}: all of its runs have ended already; more with --points or --seeds")
            session.begin_delivery()
            result = _result(session, there)
            session.drain()
        else:
            result = _run(session, runs, stack, there)
        if not result.front.confirmed:
            raise TuneCnnError(nothing_confirmed(store.confirmations.runs(study, on=there), session.spec))
        return result


def spec_on(spec: StudySpec, accelerator: str | None) -> StudySpec:
    """The same on nodes of this type alone."""
    if accelerator is None:
        return spec
    return spec.model_copy(update={"resources": spec.resources.model_copy(update={"accelerator": accelerator})})


def _run(session: Session, runs: list[SeedRun], stack: ExitStack, there: str | None) -> ConfirmResult:
    session.power = stack.enter_context(
        on_ray(session.spec, session.locations, session.report, leaving=session.leaving)
    )
    here = _as_searched(session, runs, there)
    session.begin_delivery()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        session.report(LEAVING)
        session.leaving.hurry()

    session.leaving.first(session.leave_outbox)
    try:
        with interruptible(stop, unheard=session.leaving.unheard):
            whole = confirm_planned(session, runs, here=here, stopping=lambda: stopped, there=there)
        result = _result(session, there)
        session.drain()
    except BaseException:
        session.leave_outbox()
        raise
    if not whole:
        raise ConfirmInterrupted(result)
    return result


def _as_searched(session: Session, runs: list[SeedRun], there: str | None) -> Mapping[str, Plain]:
    """Refuse other images than the search's, and hardware that can't; say what else is not as it was then.

    What was found here, of each type of accelerator that the runs need. `there`: a type that was not searched on.
    """
    spec = session.spec
    phases = {trial.number: phase_of(trial, spec) for trial in session.store.trials(session.study)}
    slots_of: dict[str | None, Slots] = {}
    for phase in dict.fromkeys(phases[run.trial] for run in runs):
        slots = phase_slots(spec.resources, phase, report=session.report)
        check_measurable(spec, slots.gpu_share)
        slots_of[phase.accelerator] = slots
    found = {}
    for accelerator, slots in slots_of.items():
        session.power.hold(slots.power_limit_w)
        checked = check(spec, replace(slots, count=1), cache_dir=session.locations.cache_dir)
        mine = [run for run in runs if phases[run.trial].accelerator == accelerator]
        check_confirmable(session, checked.spec, checked.info, mine, on=accelerator, there=there)
        found[str(accelerator)] = checked.info
    return {**next(iter(found.values())), **by_type(found)}


def _result(session: Session, there: str | None) -> ConfirmResult:
    """What is confirmed so far, with the report and the figures written anew."""
    archive = session.archive()
    files = session.write_report(archive)
    page = str(files["report.html"]) if files else None
    shown = archive if there is None else as_there(archive, there)
    return ConfirmResult(study=session.study, front=Front(shown), report=page)
