"""One row of the matrix: a search, a fault in the middle of it, the same command until it is finished, a verdict."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from faults.search_under_test import Search
from faults.verdict import Record, read_runs, wrongs

COMMANDS = 6  # how often the same command is given before a row is given up
GONE_S = 20.0  # what a search has left may take so long to be gone: the promise is 15 s
DELIVERED_S = 30.0  # that a search's outbox may take after it; on a busy machine it is slow, and `sync` isn't
SAMPLE_S = 0.25
OF_A_NODE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")  # they stay while the node does
REPLACED = {"worker", "rank", "outbox"}  # what the search itself starts anew where it is lost
PROGRESS = re.compile(r"\d+/\d+ trials|\d+ trials|delivering|digits has no test|checking data|starting Ray|\s*$")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What can be seen of a search from outside, so many seconds after the fault."""

    at_s: float
    points: int
    attempts: int
    waiting: int
    error: bool  # MLflow's delivery says that something is wrong
    running: bool
    codes: tuple[int | None, ...]  # of the commands so far; None: runs
    lines: int
    old_alive: int  # processes that lived at the fault
    replaced: bool  # a process has come in the place of one that was lost, as a new worker


@dataclass(frozen=True, kw_only=True)
class Row:
    family: str
    part: str
    fault: str
    strike: Callable[["Case"], None]  # does it, having called case.now()
    search: Mapping[str, Any] = field(default_factory=dict)
    after: int = 3  # points before the fault
    may_fail: int = 0  # trials whose failure is the fault's own
    patience_s: float = 150.0  # in which the search must have ended or gone on by itself
    delivery: bool = False  # what recovers is the way to MLflow, not the training
    expected: str | None = None  # what the last command must say, where the study can't be finished
    prepare: Callable[["Case"], None] = lambda case: None
    also: Callable[["Case"], Iterable[str]] = lambda case: ()  # what is wrong beside what any row may have wrong
    short: bool = False  # part of the gate

    @property
    def name(self) -> str:
        return f"{self.part}, {self.fault}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    family: str
    part: str
    fault: str
    wrong: list[str]  # what does not hold
    noticed_s: float | None  # None: nothing was said or repeated, as nothing had to be
    recovered_s: float | None
    gone_s: float | None  # until the last process that lived at the fault had ended, where the driver ended
    stuck: bool  # neither ended nor went on within its patience
    codes: list[int | None]  # of the same command, given again and again
    synced: bool  # whether `sync` had to deliver the rest to MLflow
    left: list[str]
    said: str
    took_s: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Case:
    """A row as it runs."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.search = Search(**row.search)
        self.before: Record | None = None
        self.samples: list[Sample] = []
        self.cleanups: list[Callable[[], None]] = []
        self.at_close: list[Callable[[], object]] = []
        self.nodes: object = None  # of a row with a cluster
        self.server: subprocess.Popen[bytes] | None = None  # of a row with a server of MLflow's
        self.port = 0
        self.commands: list[subprocess.Popen[bytes]] = []
        self.stuck = False
        self.synced = False
        self._struck_s = 0.0
        self._lines = 0
        self._old: set[int] = set()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)

    def command(self) -> "subprocess.Popen[bytes]":
        self.commands.append(self.search.command())
        return self.commands[-1]

    def now(self) -> None:
        """The moment of the fault: what is committed by now must stay."""
        self.before = self.search.record()
        self._old = {p.pid for p in self.search.processes()}
        self._lines = len(self.search.said)
        self._struck_s = time.monotonic()
        self._watch.start()

    def heal(self) -> None:
        """End what the fault still does."""
        while self.cleanups:
            self.cleanups.pop()()

    def close(self) -> None:
        self._over.set()
        if self._watch.is_alive():
            self._watch.join()
        self.heal()
        self.search.end()
        for undo in reversed(self.at_close):
            undo()
        self.search.close()

    def wait_for_end(self, patience_s: float) -> int | None:
        """The last command's exit code; None where it hangs, that is gave no point and did not end for so long."""
        moved_s, seen = time.monotonic(), -1
        while time.monotonic() - moved_s < patience_s:
            with suppress(subprocess.TimeoutExpired):
                return self.commands[-1].wait(0.5)
            record = self.search.record()
            if record is not None and len(record.points) + sum(t.attempts for t in record.trials.values()) != seen:
                seen = len(record.points) + sum(t.attempts for t in record.trials.values())
                moved_s = time.monotonic()
        return None

    def deliver(self) -> None:
        """What a search leaves waiting for MLflow: its outbox may go on; else it is `sync`, as the search says."""
        deadline = time.monotonic() + DELIVERED_S
        while self.search.processes("outbox") and not self.finished and time.monotonic() < deadline:
            time.sleep(0.2)
        record = self.search.record()
        if record is not None and record.state == "finished" and record.waiting:
            self.synced = True
            self.search.sync().wait(300)

    @property
    def finished(self) -> bool:
        record = self.search.record()
        return record is not None and record.state == "finished" and not record.waiting

    def to_the_end(self) -> None:
        """The same command again until the study is finished and MLflow has it."""
        for _ in range(COMMANDS):
            code = self.wait_for_end(self.row.patience_s)
            if code is None:
                self.stuck = True
                self.commands[-1].send_signal(signal.SIGKILL)
                self.commands[-1].wait()
                self.heal()
            if code == 0:
                self.deliver()
            if (code == 0 and self.finished) or self._said_what_was_expected():
                return
            self.command()

    def _said_what_was_expected(self) -> bool:
        expected, said = self.row.expected, "\n".join(self.search.said[self._lines :])
        return expected is not None and expected in said and "Traceback" not in said

    def outcome(self, began_s: float) -> Outcome:
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline and self._left():
            time.sleep(0.2)
        wrong, left = self._wrongs(), self._left()
        self._over.set()
        self._watch.join()
        noticed_s = self._noticed_s()
        return Outcome(
            family=self.row.family,
            part=self.row.part,
            fault=self.row.fault,
            wrong=wrong,
            noticed_s=noticed_s,
            recovered_s=self._recovered_s(noticed_s or 0.0),
            gone_s=self._gone_s(),
            stuck=self.stuck,
            codes=[command.poll() for command in self.commands],
            synced=self.synced,
            left=left,
            said=next((line for line in self.search.said[self._lines :] if not PROGRESS.match(line)), ""),
            took_s=time.monotonic() - began_s,
        )

    def _left(self) -> list[str]:
        """Of what the commands started; a cluster's own processes stay, but for those that still train."""
        commands = {p.pid for command in self.commands for p in self.search.of(command)}
        left = [
            f"process {p.pid} {p.title[:60]}"
            for p in self.search.processes()
            if p.pid in commands or (p.title.startswith("ray::") and not p.title.startswith(OF_A_NODE))
        ]
        return left + self.search.files_left()

    def _wrongs(self) -> list[str]:
        if self.row.expected is not None:
            return [] if self._said_what_was_expected() else [f"it did not say {self.row.expected!r}"]
        record = self.search.record()
        if record is None:
            return ["the store can't be read"]
        runs = read_runs(self.search.mlflow)
        found = wrongs(record, runs, trials=self.search.trials, before=self.before, may_fail=self.row.may_fail)
        return [*found, *self.row.also(self)]

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            at_s = time.monotonic() - self._struck_s
            record = self.search.record()
            said = self.search.said[self._lines :]
            alive = self.search.processes()
            self.samples.append(
                Sample(
                    at_s=at_s,
                    points=0 if record is None else len(record.points),
                    attempts=0 if record is None else sum(t.attempts - 1 for t in record.trials.values()),
                    waiting=0 if record is None else record.waiting,
                    error=record is not None and record.delivery_error is not None,
                    running=record is not None and record.state == "running",
                    codes=tuple(command.poll() for command in self.commands),
                    lines=sum(not PROGRESS.match(line) for line in said),
                    old_alive=len(self._old & {p.pid for p in alive}),
                    replaced=any(p.role in REPLACED and p.pid not in self._old for p in alive),
                )
            )

    def _noticed_s(self) -> float | None:
        """The first sign outside: a command ended badly, a line that is no progress, a trial or process begun anew."""
        assert self.before is not None
        attempts = sum(t.attempts - 1 for t in self.before.trials.values())
        for s in self.samples:
            bad = any(code not in (None, 0) for code in s.codes)
            if bad or (s.running and (s.lines or s.error or s.replaced or s.attempts > attempts)):
                return s.at_s
        return None

    def _recovered_s(self, noticed_s: float) -> float | None:
        """The first epoch committed after that; where MLflow is what was lost, the first change delivered."""
        assert self.before is not None
        later = [s for s in self.samples if s.at_s >= noticed_s]
        if self.row.delivery:
            return next((now.at_s for before, now in pairwise(later) if now.waiting < before.waiting), None)
        until_then = max(len(self.before.points), later[0].points if noticed_s and later else 0)
        return next((s.at_s for s in later if s.points > until_then), None)

    def _gone_s(self) -> float | None:
        alive = [s for s in self.samples if s.old_alive]
        ended = any(command.poll() not in (None, 0) for command in self.commands[:1])
        return alive[-1].at_s if alive and ended else None


def run(row: Row) -> Outcome:
    """One row from its start to its verdict; nothing of it stays."""
    began_s = time.monotonic()
    case = Case(row)
    try:
        row.prepare(case)
        case.command()
        case.search.wait_for_points(row.after)
        row.strike(case)
        case.to_the_end()
        return case.outcome(began_s)
    finally:
        case.close()


def signal_to(role: str, number: int) -> Callable[[Case], None]:
    """A fault: this signal to the newest process of that role."""

    def strike(case: Case) -> None:
        victim = case.search.one(role)
        if number == signal.SIGSTOP:
            case.cleanups.append(lambda: victim.send(signal.SIGKILL))
        case.now()
        victim.send(number)

    return strike
