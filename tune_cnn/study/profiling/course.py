"""What the command `profile` does, as plain data."""

from collections.abc import Sequence

from tune_cnn.errors import InputError, Interrupted
from tune_cnn.reports.terminal import printed
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import study_name
from tune_cnn.study.archive import spec_of
from tune_cnn.study.locations import Locations
from tune_cnn.study.profiling.answer import CELL, KNOWN, cells_of, document
from tune_cnn.study.profiling.question import Profile
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.study.questions.course import Answered, QuestionInterrupted, ask
from tune_cnn.study.questions.course import dry_run as reckon
from tune_cnn.untyped import Plain


def profile(
    spec: StudySpec,
    locations: Locations,
    *,
    ranks: Sequence[int] | None,
    minutes: float | None,
    study: str | None,
    again: str,
) -> dict[str, Plain]:
    """Measure what is left, and answer. Raises TuneCnnError."""
    question, named = _asked(spec, ranks, minutes, study)
    try:
        answered = ask(question, named, locations, report=printed.line, again=again)
    except QuestionInterrupted as end:
        raise Interrupted(
            f"Profile {named.study} is interrupted, {end.answered.left} measurements are left; nothing is lost.\n"
            f"Go on with:  {again}" + (f"\nSo far:      {end.answered.report}" if end.answered.report else "")
        ) from None
    return _document(answered)


def dry_run(
    spec: StudySpec, locations: Locations, *, ranks: Sequence[int] | None, minutes: float | None, study: str | None
) -> dict[str, Plain]:
    """How many cells there are, which of them are known, and how long the others take."""
    question, named = _asked(spec, ranks, minutes, study)
    found = reckon(question, named, locations, report=printed.line)
    planned = found["planned"]
    return {
        **found,
        "cells": len({run[CELL] for run in planned}),
        "known": len({run[CELL] for run in planned if KNOWN in run}),
        "in_all": found["settled"]["in_all"],
    }


def _asked(
    spec: StudySpec, ranks: Sequence[int] | None, minutes: float | None, study: str | None
) -> tuple[Profile, StudySpec]:
    if ranks is not None and (not ranks or min(ranks) < 1 or len(set(ranks)) < len(ranks)):
        raise InputError(f"--ranks: must be different numbers from 1 on, as in 1,2; got {','.join(map(str, ranks))}")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes: must be more than 0, got {minutes:g}")
    name = study_name(study or f"{spec.study}-profile")
    question = Profile(ranks=ranks, minutes=minutes)
    question.check(spec)
    return question, spec.model_copy(update={"study": name})


def _document(answered: Answered) -> dict[str, Plain]:
    archive = answered.archive
    cells = cells_of(archive, spec_of(archive))
    return {
        **document(archive.study.name, cells),
        "in_all": archive.study.info[QUESTION]["settled"]["in_all"],
        "report": answered.report,
    }
