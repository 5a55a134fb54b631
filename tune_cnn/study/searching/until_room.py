"""What a search writes of its study: where the disk is full, it waits until there is room, and then goes on."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from tune_cnn.errors import StoreFull
from tune_cnn.records.rows import NodeRecord
from tune_cnn.states import TrialState
from tune_cnn.study.searching.home_quota import HomeQuota
from tune_cnn.study.session.session import Session
from tune_cnn.untyped import Plain

P = ParamSpec("P")
T = TypeVar("T")

LEAST_MIB = 64  # that a home must have free for a new trial: the store's journal, a report, checkpoints of a small net
LOOK_S = 1.0  # between two looks whether there is room
PATIENCE_S = 24 * 3600.0  # over a weekend's first night somebody will have seen it


class UntilRoom:
    """Tries again while the disk is full. What runs ends its epoch meanwhile and waits, as nothing is taken from it."""

    def __init__(
        self,
        home: Path,
        report: Callable[[str], None],
        *,
        ending: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
        free_mib: Callable[[Path], float | None] | None = None,
    ) -> None:
        """`ending`: whether the search wants to end, as after Ctrl-C; it waits no longer then."""
        self._home, self._report, self._ending, self._sleep = home, report, ending, sleep
        self._free_mib = free_mib or free_mib_of

    def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What it returns, of one transaction; StoreFull where there was no room in time, or the search ends."""
        waited_s, said = 0.0, False
        while True:
            try:
                result = call(*args, **kwargs)
            except StoreFull as full:
                if self._ending() or waited_s >= PATIENCE_S:
                    raise
                if not said:
                    self._report(f"paused, until there is room: {full}")
                    said = True
                self._sleep(LOOK_S)
                waited_s += LOOK_S
            else:
                if said:
                    self._report(f"there is room again after {waited_s:.0f} s; the search goes on")
                return result

    def wait(self) -> None:
        """Before a new trial: until the home has room for what a trial leaves there. StoreFull as for `write`."""
        self.write(self._look)

    def _look(self) -> None:
        free_mib = self._free_mib(self._home)
        if free_mib is not None and free_mib < LEAST_MIB:
            raise StoreFull(
                f"{self._home}: the disk is full: a new trial needs {LEAST_MIB} MiB there, {free_mib:.0f} MiB are "
                "free; free some space, or set TUNE_CNN_DISK_GB to what checkpoints and logs may hold"
            )


def free_mib_of(folder: Path) -> float | None:
    """What is free on its disk; None where that can't be known now."""
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return None


class StudyWriter:
    """The transactions by which a search changes its study; each waits for room."""

    def __init__(self, session: Session, *, ending: Callable[[], bool]) -> None:
        self._store, self._study = session.store, session.study
        self._room = UntilRoom(session.locations.home, session.report, ending=ending)
        self._quota = HomeQuota(session.locations.home, session.report)

    def add_trial(self, number: int, params: Mapping[str, Plain], *, seed: int, extra: Mapping[str, Plain]) -> None:
        self._quota.keep()
        self._room.wait()
        self._room.write(self._store.add_trial, self._study, number, params, seed=seed, extra=extra)

    def resume_trial(self, number: int) -> None:
        self._room.write(self._store.resume_trial, self._study, number)

    def end_trial(self, number: int, state: TrialState, reason: str | None) -> None:
        self._room.write(self._store.end_trial, self._study, number, state, reason)

    def add_point(self, trial: int, epoch: int, metrics: Mapping[str, float], *, checkpoint: str | None) -> bool:
        """Whether it was new."""
        return self._room.write(self._store.add_point, self._study, trial, epoch, metrics, checkpoint=checkpoint)

    def add_node(self, record: NodeRecord) -> None:
        self._room.write(self._store.nodes.add, self._study, record)

    def update(self, *, searched_s: float | None = None, reference: Mapping[str, float] | None = None) -> None:
        self._room.write(self._store.update_study, self._study, searched_s=searched_s, reference=reference)
