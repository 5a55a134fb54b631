"""What the commands that answer a question do: results as plain data, for --json or for a table."""

from collections.abc import Sequence

from tune_cnn.errors import InputError, Interrupted
from tune_cnn.reports.numbers import duration
from tune_cnn.reports.terminal import printed
from tune_cnn.study.commands.studies import locations as locations
from tune_cnn.study.comparing.asked import Equal
from tune_cnn.study.comparing.course import CompareResult, Wanted
from tune_cnn.study.comparing.course import compare as run_compare
from tune_cnn.study.comparing.course import dry_run as reckon_compare
from tune_cnn.study.locations import Locations
from tune_cnn.study.questions.course import QuestionInterrupted
from tune_cnn.untyped import Plain

EQUAL: dict[str, Equal] = {"epochs": "epochs", "time": "time"}


def comparison(
    over: str,
    values: Sequence[str],
    seeds: int,
    equal: str,
    study: str | None,
    limit: int,
    *,
    beside: bool,
    then_combine: bool,
) -> Wanted:
    if equal not in EQUAL:
        raise InputError(f"--equal: must be epochs or time, got {equal!r}")
    return Wanted(
        over=over,
        values=values,
        seeds=seeds,
        equal=EQUAL[equal],
        study=study,
        limit=limit,
        beside=beside,
        then_combine=then_combine,
    )


class CompareDocument(dict[str, Plain]):
    """What --json prints of a comparison, with the comparison itself for the table."""

    def __init__(self, result: CompareResult, document: dict[str, Plain]) -> None:
        super().__init__(document)
        self.result = result


def compare(
    source: str, overrides: Sequence[str], wanted: Wanted, locations: Locations, *, again: str
) -> CompareDocument:
    try:
        result = run_compare(source, overrides, wanted, locations, report=printed.line, again=again)
    except QuestionInterrupted as end:
        raise interrupted(end, again) from None
    from tune_cnn.study.comparing.shown import document

    report = result.answered.report
    return CompareDocument(result, {**document(result.answered.archive, result.found), "report": report})


def interrupted(end: QuestionInterrupted, again: str) -> Interrupted:
    """In the command's words."""
    name, so_far = end.answered.archive.study.name, end.answered.report
    return Interrupted(
        f"Study {name} is interrupted, {end.answered.left} of its runs are left; nothing is lost.\nGo on with:  {again}"
        + (f"\nSo far:      {so_far}" if so_far else "")
    )


def show_compare(document: CompareDocument) -> None:
    from tune_cnn.reports.terminal.tables.comparison import show_comparison

    result = document.result
    show_comparison(result.found, result.notes, document["report"])


def dry_compare(source: str, overrides: Sequence[str], wanted: Wanted, locations: Locations) -> dict[str, Plain]:
    return dict(reckon_compare(source, overrides, wanted, locations, report=printed.line))


def show_dry_run(result: dict[str, Plain]) -> None:
    runs, seconds = result["runs"], result["seconds"]
    if not runs:
        printed.line(f"{result['study']}: no run is left. Without --dry-run the same command shows the answer.")
        return
    left = "1 run is left" if runs == 1 else f"{runs} runs are left"
    long = "how long that takes can't be told" if seconds is None else f"that takes some {duration(seconds)}"
    then = "the same command starts" if result["refused"] is None else f"the command is refused: {result['refused']}"
    more = f" The winners together come on top, at most {at_most} runs." if (at_most := result["then_at_most"]) else ""
    printed.line(f"{result['study']}: {left}; {long}.{more} Without --dry-run {then}.")
