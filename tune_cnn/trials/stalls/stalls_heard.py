"""What the driver hears of trials that stood still, and how it looks after the coordinator, which watches them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from tune_cnn.errors import InputError, TuneCnnError, first_line
from tune_cnn.files import write_whole
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.stalls.stall_round import Stall, Told
from tune_cnn.trials.stalls.stalls import GAP_S, SILENT_S
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import GetTimeoutError, RayError

log = logging.getLogger(__name__)
EVERY_S = 1.0
AT_ONCE_S = 5.0  # for an answer that Tune's loop waits for: a coordinator that is well gives it in milliseconds
# Silence of the coordinator after which its process is ended and made anew; longer from time to time, as Ray takes
# 5 s to end a frozen one and some more to start another.
REVIVALS_S = (SILENT_S, 2 * SILENT_S, 3 * SILENT_S)


class StallsHeard:
    """Asks the coordinator every second, and never waits for it but where a process was lost.

    `lost`: set once the coordinator can't be brought back to answer.
    """

    def __init__(self, coordinator: Untyped, folder: str | None, revived: Callable[[], None] = lambda: None) -> None:
        """folder: where the stacks are kept, on this machine; None: nowhere. revived: the coordinator was made anew."""
        self.lost: TuneCnnError | None = None
        self._coordinator, self._folder, self._revived = coordinator, folder, revived
        self._why: dict[int, str] = {}  # by trial: of its last stall, until somebody asks
        self._heard = 0
        self._incarnation: str | None = None
        self._asked: Untyped = None
        self._asked_s = self._ticked_s = time.monotonic()
        self._revivals = 0

    def tick(self) -> None:
        """Called ten times a second or so, in Tune's loop."""
        now_s = time.monotonic()
        if now_s - self._ticked_s > GAP_S:  # nobody was waited for meanwhile
            self._asked_s += now_s - self._ticked_s
        self._ticked_s = now_s
        if self.lost is not None:
            return
        if self._asked is None:
            if now_s - self._asked_s >= EVERY_S:
                self._ask(now_s)
        elif ray.wait([self._asked], timeout=0)[0]:
            self._take()
        elif now_s - self._asked_s > REVIVALS_S[min(self._revivals, len(REVIVALS_S) - 1)]:
            self._revive(now_s)

    def why(self, trial: int | None) -> str | None:
        """Why the trial's processes were ended, where that was for standing still. A second time it is forgotten."""
        if self._asked is not None:  # from before the loss, perhaps: so may its answer be
            self._take(within_s=AT_ONCE_S)
        if self._asked is None and self.lost is None and trial not in self._why:
            self._ask(time.monotonic())
            self._take(within_s=AT_ONCE_S)
        return None if trial is None else self._why.pop(trial, None)

    def _ask(self, now_s: float) -> None:
        self._asked, self._asked_s = self._coordinator.told.remote(self._heard), now_s

    def _take(self, *, within_s: float = 0.0) -> None:
        try:
            told = _one(ray.get([self._asked], timeout=within_s))
        except GetTimeoutError:
            return  # it is asked still
        except RayError as error:
            self._asked = None
            self._give_up(f"is gone: {first_line(error)}")
            return
        self._asked, self._revivals = None, 0
        if self._incarnation not in (None, told.incarnation):
            self._heard = 0  # told anew below, by a coordinator that has seen no stall yet
            self._revived()
        self._incarnation = told.incarnation
        self._heard += len(told.stalls)
        for stall in told.stalls:
            self._note(stall)

    def _note(self, stall: Stall) -> None:
        why = stall.why + self._kept(stall)
        log.warning("trial %s %s", stall.trial, why)
        if stall.trial is not None:
            self._why[stall.trial] = why

    def _kept(self, stall: Stall) -> str:
        """Where its stacks are, as the reason's end."""
        if self._folder is None or stall.trial is None:
            return ""
        path = Path(self._folder) / f"trial-{stall.trial:06d}.txt"
        try:
            before = path.read_text() + "\n" if path.is_file() else ""
            write_whole(path, before + stall.stacks)
        except (OSError, InputError) as error:
            log.warning("the stacks of trial %s are not kept: %s", stall.trial, error)
            return ""
        return f"; all stacks: {path}"

    def _revive(self, now_s: float) -> None:
        """End the coordinator's process, frozen or hanging as it is; Ray makes it anew and repeats the calls to it."""
        if self._revivals == len(REVIVALS_S):
            self._give_up("has not answered, though it was started anew: Ray itself may not answer")
            return
        log.warning("the slots' coordinator has not answered for %.0f s: started anew", now_s - self._asked_s)
        self._revivals += 1
        self._asked_s = now_s
        ray.kill(self._coordinator, no_restart=False)

    def _give_up(self, what: str) -> None:
        self.lost = TuneCnnError(
            f"the slots' coordinator, a process beside the search's, {what}. The same command goes on"
        )


def _one(answers: Untyped) -> Told:
    told: Told = answers[0]
    return told
