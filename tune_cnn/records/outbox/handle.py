"""The search's handle on the outbox, a process of its own; imports no mlflow."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from tune_cnn.errors import InputError, StoreError, TuneCnnError
from tune_cnn.owner import process
from tune_cnn.records.mlflow.environment import absolute_uri, check_uri, outbox_environment
from tune_cnn.records.outbox.lost import ENDED_WITHIN_S, end, kill
from tune_cnn.records.outbox.tending import Looks, Tending
from tune_cnn.records.store import Store
from tune_cnn.untyped import Plain

GRACE_S = 5.0  # beyond a deadline, for the request under way
LOG = "outbox.log"
DELIVER_MIN = "TUNE_CNN_DELIVER_MIN"  # minutes for which a delivery goes on by itself when its search has ended
Start = Callable[[bool], "subprocess.Popen[str]"]  # of the process; whether it takes the place of a lost one
REFUSED, TAKEN = 2, 3  # exit codes: the server won't take it; the study's name is taken there by somebody else


@dataclass(frozen=True, kw_only=True)
class OutboxStatus:
    pending: int  # changes that MLflow has not been sent yet
    error: str | None = None  # why, where something is wrong
    until: datetime | None = None  # delivered in the background, after the search's end

    def __str__(self) -> str:
        """ "MLflow: 37 waiting (http://host: server unreachable)" """
        waiting = f"{self.pending} waiting" if self.pending else "up to date"
        alone = f", being delivered in the background until {self.until.astimezone():%H:%M}" if self.until else ""
        return f"MLflow: {waiting}{alone}" + (f" ({self.error})" if self.error else "")


def delivery_of(store: Store, study: str) -> OutboxStatus:
    """How the delivery of a study stands that no search of this process delivers."""
    pending, error = store.deliveries.state(study)
    there = store.delivered_by(study)
    return OutboxStatus(pending=pending, error=error, until=there.until if there is not None and there.lives else None)


class Outbox:
    def __init__(self, store: Store, study: str, start: Start, log: Path) -> None:
        self.log = log
        self._store = store
        self._study = study
        self._start = start
        self._begin(retried=False)
        self._finish_s: float | None = None  # on this machine's clock: until when it was asked to finish
        self._tending: Tending | None = None

    def _begin(self, *, retried: bool) -> None:
        self._process = self._start(retried)
        self._owner = process(self._process.pid)

    def tend(self, say: Callable[[str], object]) -> None:
        """From now on replace the process where it is lost: it has ended, is frozen, or takes no change any more; and
        `say` so."""
        self._tending = Tending(self._lost, self._replace, say)
        self._tending.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def status(self) -> OutboxStatus:
        """Cheap enough for every second; a store that fails is an error here, not raised."""
        try:
            pending, error = self._store.deliveries.state(self._study)
        except StoreError as broken:
            return OutboxStatus(pending=0, error=str(broken))
        if error is None and not self.alive and self._process.returncode != 0:
            error = f"the outbox ended with code {self._process.returncode}, see {self.log}"
        return OutboxStatus(pending=pending, error=error)

    @property
    def taken(self) -> str | None:
        """What is there, where the study's name on the server is somebody else's."""
        return self.status().error if self._process.poll() == TAKEN else None

    @property
    def refused(self) -> bool:
        return self._process.poll() in {REFUSED, TAKEN}

    def finish(self, timeout_s: float, *, away_s: float | None = None, then_alone: bool = False) -> int:
        """Have the rest delivered, for so long at most, and end the process; returns how many changes still wait.

        Those are kept: `sync`, or the next search of the study, delivers them. `away_s`: the longest wait once the
        server is known not to answer. `then_alone`: where changes still wait, the process goes on by itself.
        """
        # One that may go on must not end before it is told so.
        self.ask_to_finish(timeout_s + (alone_s() if then_alone else 0.0))
        until_s = time.monotonic() + timeout_s + GRACE_S
        while self._delivers and time.monotonic() < until_s:
            if away_s is not None and self.status().error:
                until_s, away_s = min(until_s, time.monotonic() + away_s), None
            if not self.alive:
                time.sleep(0.2)  # until another one takes its place
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
        self._leave_untended(within_s=2 * ENDED_WITHIN_S)
        pending = self._store.deliveries.count(self._study)
        if self.alive and then_alone and pending:
            self.leave()
        elif self.alive:
            self.kill()
        return pending

    def ask_to_finish(self, timeout_s: float) -> None:
        self._finish_s = time.monotonic() + timeout_s
        self._order({"finish_s": timeout_s})

    def leave(self) -> None:
        """Let it go on by itself, without waiting for it: for an hour at most, or until all is delivered."""
        self._leave_untended(within_s=0.0)
        if alone_s():
            if self._owner.is_stopped:
                kill(self._process)
                self._begin(retried=True)
            self._order({"alone": True})
        elif self.alive:
            self.kill()

    def _order(self, order: Mapping[str, Plain]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(OSError, ValueError):  # it has ended already
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()

    def kill(self) -> None:
        """End the process at once; what it had not marked as delivered is delivered again, to no effect, later."""
        kill(self._process)

    # Tending

    def _leave_untended(self, *, within_s: float) -> None:
        if self._tending is not None:
            self._tending.end(within_s=within_s)

    @property
    def _delivers(self) -> bool:
        """Now, or again in a moment."""
        tended = self._tending is not None and not self._tending.is_over
        return self.alive or (tended and self._ended_early is not None)

    def _lost(self, looks: Looks) -> str | None:
        """How the process is lost, in words; None where it is not."""
        if not self.alive:
            return self._ended_early
        return looks.at(self._owner, self._untaken)

    def _untaken(self) -> set[int]:
        """Changes that should be taken now: once MLflow is imported, which may take long, and while its server
        answers."""
        there = self._store.delivered_by(self._study)
        if there is None or there.owner.pid != self._process.pid or self.status().error is not None:
            return set()
        return {change.id for change in self._store.deliveries.waiting(self._study)}

    @property
    def _ended_early(self) -> str | None:
        code = self._process.poll()
        if code is None or self.refused:
            return None
        if self._finish_s is not None and (time.monotonic() > self._finish_s or not self.status().pending):
            return None
        return f"had ended with code {code}"

    def _replace(self) -> None:
        end(self._process)
        if self._tending is None or self._tending.is_over:
            return
        self._begin(retried=True)
        if self._finish_s is not None:
            self.ask_to_finish(self._finish_s - time.monotonic())


def start_outbox(store: Store, study: str, tracking_uri: str, *, folder: Path, alone: bool = False) -> Outbox:
    """Start feeding MLflow with a study; `folder` takes the log. Returns at once: importing mlflow takes seconds.

    In a session of its own, so that Ctrl-C doesn't reach it; at the lowest priority, so that training doesn't feel
    it; its settings through stdin, as they may hold passwords; with nothing imported from the folder one is in (-P).
    It ends by itself when this process dies. `alone`: for `sync`, beside no search.
    """
    check_uri(tracking_uri)
    goes_on_s = alone_s()
    tracking_uri = absolute_uri(tracking_uri)
    store.deliveries.set_error(study, None)  # of the time before
    log = folder / LOG
    environment = outbox_environment(os.environ, tracking_uri)
    settings: dict[str, Plain] = {"store": store.url, "study": study, "tracking_uri": tracking_uri, "alone": alone}
    settings["alone_s"] = goes_on_s

    def start(retried: bool) -> "subprocess.Popen[str]":
        started = _started(log, environment, {**settings, "retried": retried})
        if not alone:
            _make_modest(started.pid)
        return started

    return Outbox(store, study, start, log)


def _started(log: Path, environment: Mapping[str, str], settings: Mapping[str, Plain]) -> "subprocess.Popen[str]":
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stderr:
            started = subprocess.Popen(
                [sys.executable, "-P", "-m", "tune_cnn.records.outbox.process"],
                stdin=subprocess.PIPE,
                stdout=stderr,
                stderr=stderr,
                text=True,
                start_new_session=True,
                env=environment,
            )
    except OSError as error:
        raise StoreError(f"{log}: the outbox can't be started: {error.strerror or error}") from None
    assert started.stdin is not None
    with suppress(OSError):  # it died at once: its status says so
        started.stdin.write(json.dumps(settings) + "\n")
        started.stdin.flush()
    return started


def alone_s() -> float:
    """Seconds that a delivery goes on after its search; InputError where TUNE_CNN_DELIVER_MIN is no number."""
    said = os.environ.get(DELIVER_MIN, "60")
    if not said.isdecimal():
        raise InputError(f"{DELIVER_MIN}: must be whole minutes, 0 for no delivery after a search's end, got {said!r}")
    return 60.0 * int(said)


def _make_modest(pid: int) -> None:
    """Training comes first, from the import of mlflow on, which takes seconds of a core."""
    with suppress(psutil.Error):
        psutil.Process(pid).nice(19)
    # Where Linux shares its time among sessions, nice counts only within one, and the outbox has a session of its own.
    # 12: a sixteenth of a core beside one busy session, on a machine that has nothing left: the import alone takes a
    # minute then. At 5, a third of a core, searches of small nets on two cores took 10 to 20 % longer.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("12")


def sync(
    store: Store,
    study: str,
    tracking_uri: str,
    *,
    folder: Path,
    patience_s: float = 60.0,
    progress: Callable[[OutboxStatus], None] = lambda status: None,
) -> int:
    """Deliver all that waits, in the foreground; returns how many changes did.

    `progress` gets the status twice a second. TuneCnnError where nothing has moved for `patience_s`, InputError
    where the server refuses.
    """
    waiting = before = store.deliveries.count(study)
    outbox = start_outbox(store, study, tracking_uri, folder=folder, alone=True)
    try:
        outbox.ask_to_finish(24 * 3600.0)
        moved_s = time.monotonic()
        while outbox.alive and time.monotonic() - moved_s < patience_s:
            status = outbox.status()
            progress(status)
            if status.pending < waiting:
                waiting, moved_s = status.pending, time.monotonic()
            time.sleep(0.5)
    finally:
        if outbox.alive:
            outbox.kill()
    status = outbox.status()
    if status.error or status.pending:
        kind = InputError if outbox.refused else TuneCnnError
        raise kind(f"{status}; nothing is lost: sync the study again. Log: {outbox.log}")
    return before
