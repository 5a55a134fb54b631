"""The course of a question: connect, settle, do what is left of its runs, answer; the same command again goes on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import Interrupted, TuneCnnError
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.states import StudyState
from tune_cnn.study.archive import open_store
from tune_cnn.study.checks.preflight import check
from tune_cnn.study.locations import Locations
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.study.questions.left import foreseen, left
from tune_cnn.study.questions.opening import (
    begin,
    check_limit,
    check_same,
    go_on,
    info_of,
    over_limit,
    reopen_failed,
    unopened,
)
from tune_cnn.study.questions.question import Here, Question
from tune_cnn.study.questions.runs import Runs
from tune_cnn.study.session.failures import nothing_found, paused
from tune_cnn.study.session.session import Report, Session, on_ray
from tune_cnn.study.session.signals import ENDING, interruptible
from tune_cnn.trials.cluster.code import add_import_folders, code_folders
from tune_cnn.trials.cluster.machines import phase_slots
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question's study as it stands, and what was written of it."""

    archive: StudyArchive
    files: dict[str, Path]  # by their names in MLflow; none where they could not be written
    left: int  # runs that have not ended

    @property
    def report(self) -> str | None:
        return str(self.files["report.html"]) if "report.html" in self.files else None


class QuestionInterrupted(Interrupted):
    """Its runs ended at the user's wish; `answered` is what there is so far."""

    def __init__(self, answered: Answered, kind: str) -> None:
        super().__init__(f"study {answered.archive.study.name!r}: {kind} is interrupted; the same command goes on")
        self.answered = answered


@left_as_found()
def ask(
    question: Question, spec: StudySpec, locations: Locations, *, limit: int | None = None, report: Report, again: str
) -> Answered:
    """Do the question's runs, or what is left of them, and answer it. Raises TuneCnnError.

    `spec` carries the study's name. `limit`: the most runs that may be left. `again`: the words of this command.
    """
    with ExitStack() as stack:
        store = open_store(locations.home, create=True)
        stack.callback(store.close)
        store.check_whole()
        session = Session(store=store, spec=spec, locations=locations, report=report)
        known = store.study(spec.study)
        if known is not None:
            check_same(known, question, spec)
            stack.enter_context(store.lease(spec.study, waiting=session.report))
            known = store.study(spec.study)  # whoever held it may have changed it until it ended
            assert known is not None, "it is held now"
            add_import_folders(code_folders(spec.resources.code))  # whether it has changed is looked at now
            reopen_failed(session, known)
            if not left(question, _grown(session, question)):
                report(f"study {spec.study}: all of its runs have ended already")
                session.begin_delivery()
                return _answer(session, question)
        here = stack.enter_context(_here(session))
        if known is None:
            settled = question.settle(here)
            check_limit(here, question, unopened(spec, info_of({}, question, settled, again=again)), limit)
            begin(here, question, settled, again=again)
            stack.enter_context(store.lease(spec.study))
        else:
            check_limit(here, question, _grown(session, question), limit)
            go_on(here, question, again=again)
        return _run(here, question)


@left_as_found()
def dry_run(
    question: Question, spec: StudySpec, locations: Locations, *, limit: int | None = None, report: Report
) -> dict[str, Plain]:
    """Check everything; say how many runs are left and how long they take. Only probed costs are kept.

    `limit`: the most runs that may be left; `refused` says what the command will say where there are more, else None.
    """
    with ExitStack() as stack:
        store = open_store(locations.home, create=True)
        stack.callback(store.close)
        session = Session(store=store, spec=spec, locations=locations, report=report)
        known = store.study(spec.study)
        if known is not None:
            check_same(known, question, spec)
        here = stack.enter_context(_here(session))
        if known is None:
            archive = unopened(spec, info_of(here.checked.info, question, question.settle(here), again=""))
        else:
            archive = _grown(session, question)
        runs = foreseen(question, archive)
        seconds = question.seconds(here, runs)
        in_all_s = None if seconds is None else seconds / max(question.lanes(here), 1)
        return {
            "settled": dict(archive.study.info[QUESTION]["settled"]),
            "study": spec.study,
            "runs": len(runs),
            "seconds": in_all_s,
            "refused": over_limit(question, len(runs), limit, lambda: seconds),
            "planned": [{"run": run.key, "params": dict(run.params), "seed": run.seed, **run.extra} for run in runs],
            "notes": list(here.checked.notes),
        }


def _grown(session: Session, question: Question) -> StudyArchive:
    """The study as it is stored, under the question as it is asked now: with more seeds there is more to do."""
    archive = session.archive()
    info = archive.study.info
    now = {**info[QUESTION], "asked": dict(question.asked)}
    return replace(archive, study=replace(archive.study, info={**info, QUESTION: now}))


@contextmanager
def _here(session: Session) -> Iterator[Here]:
    """Ray, connected, and the spec as this hardware can have it."""
    spec, locations, report = session.spec, session.locations, session.report
    with on_ray(spec, locations, report, leaving=session.leaving) as session.power, ExitStack() as lasting:
        slots = phase_slots(spec.resources, spec.resources.phases[0], report=report)
        session.power.hold(slots.power_limit_w)
        report("checking data, model and hardware")
        checked = check(spec, slots, cache_dir=locations.cache_dir)
        for note in checked.notes:
            report(note)
        yield Here(session=session, checked=checked, slots=slots, lasting=lasting)


def _run(here: Here, question: Question) -> Answered:
    session = here.session
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
            runs = Runs(here, question, stopping=lambda: stopped)
            runs.work_through()
        answered = _answer(session, question)
    except BaseException as end:
        session.give_up(at_once=isinstance(end, KeyboardInterrupt))
        raise
    if runs.alike.pausing:
        raise TuneCnnError(paused(session.study, runs.alike.reasons, session.record.info[QUESTION]["again"]))
    if answered.left:
        raise QuestionInterrupted(answered, question.kind)
    return answered


def _answer(session: Session, question: Question) -> Answered:
    """What there is so far: the report written, MLflow given the rest; TuneCnnError where every run failed."""
    store = session.store
    todo = len(left(question, session.archive()))
    trials = store.trials(session.study)
    nothing = not todo and bool(trials) and not any(trial.state.has_result for trial in trials)
    ended = StudyState.INTERRUPTED if todo else StudyState.FAILED if nothing else StudyState.FINISHED
    store.update_study(session.study, state=ended)
    archive = session.archive()
    files = {} if nothing else _write(session, question, archive)
    session.drain()
    if nothing:
        raise TuneCnnError(nothing_found(store, session.spec))
    return Answered(archive=archive, files=files, left=todo)


def _write(session: Session, question: Question, archive: StudyArchive) -> dict[str, Path]:
    """The answer's page and figures; what was trained is not lost where one can't be written."""
    folder, commands = session.locations.folder(session.study), session.locations.commands(session.study)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = question.files(archive, folder, commands)
    except Exception as error:  # whatever it is
        session.report(f"the report is not written ({error}); `{commands.report}` writes it from the store")
        return {}
    for name, path in files.items():
        session.store.deliveries.add_artifact(session.study, path, name)
    return files
