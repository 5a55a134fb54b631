"""A question's study as it begins, or goes on: the same question alone does, and what failed may be tried again."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from tune_cnn.errors import InputError, StudyError
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import StudyRecord
from tune_cnn.spec import StudySpec
from tune_cnn.states import StudyState
from tune_cnn.study.checks.preflight import check_unchanged
from tune_cnn.study.checks.resume import search_on
from tune_cnn.study.questions.asked import QUESTION, question_of
from tune_cnn.study.questions.left import foreseen
from tune_cnn.study.questions.question import Here, Question
from tune_cnn.study.session.failures import is_paused, may_go_well
from tune_cnn.study.session.jobs import user_calls
from tune_cnn.study.session.session import Session
from tune_cnn.trials.cluster.code import code_key
from tune_cnn.untyped import Plain


def check_same(known: StudyRecord, question: Question, spec: StudySpec) -> None:
    """StudyError where the study's name is that of a search or of another question, or its spec has changed."""
    stored = question_of(known)
    if stored is None or stored["kind"] != question.kind:
        what = "a search" if stored is None else f"a question of `{stored['kind']}`"
        raise StudyError(f"study {known.name!r}: exists already and is {what}; name another one with --study")
    changes = [
        f"  {key}: {then!r} → {now!r}"
        for key in dict.fromkeys([*stored["asked"], *question.asked])
        if (then := stored["asked"].get(key)) != (now := question.asked.get(key))
        and not (key in question.may_grow and now is not None and then is not None and now > then)
    ]
    if changes:
        raise StudyError(
            f"study {known.name!r}: answers another question. Changed:\n"
            + "\n".join(changes)
            + "\nGo on with the old one, or name another study with --study."
        )
    check_unchanged(known.spec, spec)


def begin(here: Here, question: Question, settled: Mapping[str, Plain], *, again: str) -> None:
    """Create the question's study, of which only what it settled on is known."""
    session, info = here.session, info_of(here.checked.info, question, settled, again=again)
    session.store.create_study(session.study, session.spec.model_dump(), info=info)


def go_on(here: Here, question: Question, *, again: str) -> None:
    """The study runs again: on the same images, with what it had settled on; says what else is not as it was."""
    session = here.session
    info = info_of(search_on(session, here.checked.info), question, settled_of(session.record), again=again)
    session.store.update_study(session.study, spec=session.spec.model_dump(), state=StudyState.RUNNING, info=info)


def info_of(
    found: Mapping[str, Plain], question: Question, settled: Mapping[str, Plain], *, again: str
) -> dict[str, Plain]:
    """What is stored of the study: what `preflight.check` found, and the question."""
    asked = {"kind": question.kind, "asked": dict(question.asked), "settled": dict(settled), "again": again}
    return {**found, QUESTION: asked}


def settled_of(study: StudyRecord) -> Mapping[str, Plain]:
    """What the question settled on at its first start."""
    question = question_of(study)
    assert question is not None, "the study answers a question"
    settled: Mapping[str, Plain] = question["settled"]
    return settled


def unopened(spec: StudySpec, info: Mapping[str, Plain]) -> StudyArchive:
    """The study as it will stand before its first run, for what is reckoned before it exists."""
    now = datetime.now(UTC)
    return StudyArchive(
        study=StudyRecord(
            name=spec.study,
            uid="",
            spec=spec.model_dump(),
            info=info,
            state=StudyState.RUNNING,
            reference=None,
            searched_s=0.0,
            created=now,
            started=now,
            updated=now,
        ),
        trials=(),
        points=(),
    )


def check_limit(here: Here, question: Question, archive: StudyArchive, limit: int | None) -> None:
    """InputError where more runs are left than `limit`: how many, and how long they would take."""
    runs = foreseen(question, archive)
    if why := over_limit(question, len(runs), limit, lambda: question.seconds(here, runs)):
        raise InputError(why)


def over_limit(question: Question, runs: int, limit: int | None, seconds: Callable[[], float | None]) -> str | None:
    """What is said of more runs than `limit`; None where there are not so many. `seconds`: how long they take."""
    if limit is None or runs <= limit:
        return None
    takes_s = seconds()
    long = "" if takes_s is None else f", which take {in_words(takes_s)} here"
    return f"{question.kind}: {runs} runs are more than --limit {limit}{long}; compare fewer values, or raise --limit"


def in_words(seconds: float) -> str:
    """A duration that is reckoned, not measured."""
    if seconds < 90:
        return f"some {max(seconds, 1):.0f} s"
    return f"some {seconds / 60:.0f} min" if seconds < 5400 else f"some {seconds / 3600:.1f} h"


def reopen_failed(session: Session, known: StudyRecord) -> None:
    """Let what failed be tried again, where the runs were paused over it or the user's code has changed since."""
    store, spec = session.store, session.spec
    trials = store.trials(spec.study)
    changed = known.info.get("code") != code_key(spec.resources.code, user_calls(spec))
    again = [trial.number for trial in trials if may_go_well(trial)] if changed or is_paused(trials) else []
    for number in again:
        store.reopen_trial(spec.study, number)
    if again:
        session.report(f"tried again, as they failed before: runs {', '.join(map(str, again))}")
