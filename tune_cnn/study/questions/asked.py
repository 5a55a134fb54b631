"""A study that answers a question instead of searching: how it is told from a search, and what it is refused."""

import shlex
from collections.abc import Mapping

from tune_cnn.errors import StudyError
from tune_cnn.records.rows import StudyRecord
from tune_cnn.started import as_started
from tune_cnn.untyped import Plain

QUESTION = "question"  # of a study's info: kind, asked, settled, again


def question_of(study: StudyRecord) -> Mapping[str, Plain] | None:
    """What was asked; None of a search.

    kind: the command; asked: by what it is told from another question; settled: what was decided at its first start;
    again: the words of the command that goes on.
    """
    found: Mapping[str, Plain] | None = study.info.get(QUESTION)
    return found


def refuse_question(study: StudyRecord, doing: str) -> None:
    """StudyError where a study answers a question, which can't be searched, confirmed or exported."""
    question = question_of(study)
    if question is None:
        return
    again = question.get("again") or shlex.join([*as_started(), question["kind"], "…"])
    raise StudyError(
        f"study {study.name!r}: answers a question of `{question['kind']}`, so there is nothing to {doing}; "
        f"`{again}` goes on with it, and `{shlex.join([*as_started(), 'report', study.name])} -o report.html` shows it"
    )
