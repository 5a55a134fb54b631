"""What a question is: its runs, the work on one of them, and the answer, which is read from the store alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.study.checks.preflight import Checked
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.session.session import Session
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Run:
    """One piece of work, which becomes a trial of the study."""

    key: str  # what tells it from the question's other runs, the same at every start; the trial's extra["run"]
    params: Mapping[str, Plain]  # flat, as searched
    seed: int
    extra: Mapping[str, Plain] = field(default_factory=dict)  # what the answer needs to know of it


@dataclass(kw_only=True)
class Here:
    """Where runs are worked on: Ray is connected, and the spec was held against this hardware."""

    session: Session
    checked: Checked  # its `spec` is the session's as this hardware can have it
    slots: Slots  # of the first phase
    stopping: Callable[[], bool] = lambda: False  # the user wants to stop, or another run has broken
    left: Callable[[], bool] = lambda: False  # at once: nobody waits for a training any more
    lasting: ExitStack = field(default_factory=ExitStack)  # closes after the last run: for processes that stay warm

    @property
    def spec(self) -> StudySpec:
        return self.checked.spec


class Question(Protocol):
    """A study that answers. All but `settle`, `lanes`, `work` and `seconds` is pure."""

    @property
    def kind(self) -> str:
        """The command: of info["question"]["kind"], and each trial's origin."""

    @property
    def asked(self) -> Mapping[str, Plain]:
        """As JSON has it; a study whose stored one differs is another question."""

    @property
    def may_grow(self) -> frozenset[str]:
        """Keys of `asked`, numbers, that may be larger than they were: more of them only adds runs."""

    def settle(self, here: Here) -> Mapping[str, Plain]:
        """What is decided once, at the first start, and stored in info["question"]["settled"], as JSON has it.

        Raises InputError where the question can't be asked here.
        """

    def runs(self, archive: StudyArchive) -> Sequence[Run]:
        """All runs that are known so far, in their order; asked again once these have ended, as more may be known."""

    def foreseen(self, archive: StudyArchive) -> Sequence[Run]:
        """The same, and those that are sure to follow but not known in full yet: how many there are, and how long."""

    def lanes(self, here: Here) -> int:
        """How many runs are worked on at a time; each beyond one in a thread of its own."""

    def work(self, here: Here, number: int, run: Run) -> None:
        """Do a run, as trial `number`, which is running: commit its points and its end.

        What an earlier start committed is there still. Where `here.stopping()` turns true it may return before the
        trial's end, and the next start does the run again. What it raises ends the command.
        """

    def seconds(self, here: Here, runs: Sequence[Run]) -> float | None:
        """How long these runs will take here, one at a time; None where that can't be known."""

    def files(self, archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
        """Write report.html and the figures into the folder; by their names in MLflow."""
