"""Which point of a front is exported, and where its text goes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import InputError
from tune_cnn.files import write_whole
from tune_cnn.reports.terminal import printed
from tune_cnn.study.export import Export
from tune_cnn.study.front import Front
from tune_cnn.study.questions.asked import refuse_question
from tune_cnn.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which point is to be exported: the one that fits a preference, or the one that `trial` and `epoch` name."""

    max_time_s: float | None = None
    min_accuracy: float | None = None
    where: Sequence[str] = ()
    knee: bool = False
    trial: int | None = None
    epoch: int | None = None
    accelerator: str | None = None  # of this type alone

    def __post_init__(self) -> None:
        has_preference = self.knee or bool(self.where) or (self.max_time_s, self.min_accuracy) != (None, None)
        if (self.trial is None) != (self.epoch is None):
            raise InputError("--trial and --epoch name a point together; give both or neither")
        if self.trial is not None and has_preference:
            raise InputError("--trial names the point itself; leave out --max-time, --min-accuracy, --where and --knee")

    def chosen(self, of: Study, front: Front) -> Export:
        """InputError where the study has no such point, NothingFits where none fits."""
        if self.trial is None:
            return front.best(
                max_time_s=self.max_time_s, min_accuracy=self.min_accuracy, where=self.where, knee=self.knee
            )
        there = of.archive_on(self.accelerator).points
        named = next((p for p in there if (p.trial, p.epoch) == (self.trial, self.epoch)), None)
        if named is None:
            where = "" if self.accelerator is None else f" on {self.accelerator}"
            raise InputError(f"study {of.name!r}: has no point of trial {self.trial} at epoch {self.epoch}{where}")
        return front.export(named)


def export(of: Study, wanted: Wanted, *, form: str, as_json: bool, output: Path | None) -> str | None:
    """What belongs on stdout; None where the export went into a file alone."""
    if form not in {"yaml", "json"}:
        raise InputError(f"--format: must be yaml or json, got {form!r}")
    refuse_question(of.archive().study, "export")
    front = of.front(accelerator=wanted.accelerator)
    chosen = wanted.chosen(of, front)
    origin, promised = chosen.origin, printed.promised(chosen.promise, front.objectives)
    if better := front.overtaking(origin["trial"], origin["epoch"]):
        there = "" if wanted.accelerator is None else f" --accelerator {shlex.quote(wanted.accelerator)}"
        printed.line(
            f"trial {better.trial} at epoch {better.epoch}, which was not trained again, looked better in every "
            f"objective: --trial {better.trial} --epoch {better.epoch}{there} exports it as it is known, and "
            f"`{of.next_commands.confirm}{there}` trains it again if it is one of those that represent the front"
        )
    text = chosen.to_json() + "\n" if form == "json" or (as_json and output is None) else chosen.to_yaml()
    if output is None:
        return text
    write_whole(output, text)
    printed.line(f"{output}: trial {origin['trial']} at epoch {origin['epoch']}, promises {promised}")
    return chosen.to_json() + "\n" if as_json else None
