"""What the command does: its answer as plain data, or what it would cost."""

from tune_cnn.errors import Interrupted
from tune_cnn.reports.numbers import duration
from tune_cnn.reports.terminal import printed
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import study_name
from tune_cnn.study.gradients.answer import answer
from tune_cnn.study.gradients.asked import AskedFor, check_spec
from tune_cnn.study.gradients.asked import asked_for as asked_for
from tune_cnn.study.gradients.question import Gradients
from tune_cnn.study.locations import Locations
from tune_cnn.study.questions.course import QuestionInterrupted, ask, dry_run
from tune_cnn.untyped import Plain


def named(spec: StudySpec, study: str | None) -> StudySpec:
    """The spec under the name of its question."""
    return spec.model_copy(update={"study": study_name(study or f"{spec.study}-gradients")})


def gradients(spec: StudySpec, asked: AskedFor, locations: Locations, *, again: str) -> dict[str, Plain]:
    """Measure, or go on with it; the answer. Raises TuneCnnError."""
    check_spec(spec)
    try:
        found = ask(Gradients(asked), spec, locations, report=printed.line, again=again)
    except QuestionInterrupted as end:
        raise Interrupted(
            f"Study {spec.study} is interrupted; nothing that was measured is lost.\nGo on with:  {again}"
            + (f"\nSo far:      {end.answered.report}" if end.answered.report else "")
        ) from None
    return {**answer(found.archive), "report": found.report}


def gradients_cost(spec: StudySpec, asked: AskedFor, locations: Locations) -> dict[str, Plain]:
    """Check everything, and say what it costs; nothing is measured."""
    check_spec(spec)
    found = dry_run(Gradients(asked), spec, locations, report=printed.line)
    epochs = asked.measured_epochs(spec.configuration({}).horizon)
    return {**found, "metrics": list(asked.metrics), "measured_epochs": [epoch + 1 for epoch in epochs]}


def show_cost(cost: dict[str, Plain]) -> None:
    seconds, epochs = cost["seconds"], len(cost["measured_epochs"])
    if not cost["runs"]:
        printed.line(f"{cost['study']}: no training is left. Without --dry-run the same command shows the answer.")
        return
    long = "how long that takes can't be told" if seconds is None else f"that takes some {duration(seconds)}"
    printed.line(
        f"{cost['study']}: {cost['runs']} training{'s' * (cost['runs'] != 1)}, measured before "
        f"{epochs} epoch{'s' * (epochs != 1)} each; {long}. Without --dry-run the same command starts."
    )
