"""The course of `compare`: read what is asked, do its runs, and say what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.front.comparison.compared import Compared
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import study_name
from tune_cnn.spec.reading.loading import read_raw
from tune_cnn.study.comparing.answer import answer_of, notes_of
from tune_cnn.study.comparing.asked import Asked, Equal, asked_of
from tune_cnn.study.comparing.cells import Cell
from tune_cnn.study.comparing.combining import most_together
from tune_cnn.study.comparing.comparison import Comparison
from tune_cnn.study.locations import Locations
from tune_cnn.study.questions.course import Answered, ask
from tune_cnn.study.questions.course import dry_run as reckon
from tune_cnn.study.session.session import Report
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """As the command has it."""

    over: str
    values: Sequence[str] = ()
    seeds: int = 3
    equal: Equal = "epochs"
    beside: bool = False
    then_combine: bool = False
    study: str | None = None  # None: <the spec's>-compare
    limit: int | None = 100


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    answered: Answered
    found: Compared
    notes: Sequence[str]


def compare(
    source: str | Path, overrides: Sequence[str], wanted: Wanted, locations: Locations, *, report: Report, again: str
) -> CompareResult:
    """Compare, or go on with it. Raises TuneCnnError, QuestionInterrupted among it."""
    spec, asked = read(source, overrides, wanted)
    answered = ask(Comparison(asked), spec, locations, limit=wanted.limit, report=report, again=again)
    found = answer_of(answered.archive)
    return CompareResult(answered=answered, found=found, notes=notes_of(answered.archive, found))


def dry_run(
    source: str | Path, overrides: Sequence[str], wanted: Wanted, locations: Locations, *, report: Report
) -> Mapping[str, Plain]:
    """How many runs there are, and how long they take; `then_at_most`: how many more the winners together may be."""
    spec, asked = read(source, overrides, wanted)
    found = reckon(Comparison(asked), spec, locations, limit=wanted.limit, report=report)
    together = most_together([Cell(**cell) for cell in found["settled"]["cells"]]) if asked.then_combine else 0
    return {**found, "then_at_most": together * (asked.seeds + (asked.equal == "time"))}


def read(source: str | Path, overrides: Sequence[str], wanted: Wanted) -> tuple[StudySpec, Asked]:
    """The spec under the comparison's own name, and what is asked of it."""
    raw, where = read_raw(source, overrides)
    spec, asked = asked_of(
        raw,
        where,
        wanted.over,
        wanted.values,
        seeds=wanted.seeds,
        equal=wanted.equal,
        beside=wanted.beside,
        then_combine=wanted.then_combine,
    )
    return spec.model_copy(update={"study": study_name(wanted.study or f"{spec.study}-compare")}), asked
