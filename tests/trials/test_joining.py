"""Ray, as it starts, leaves the caller's signals alone."""

import subprocess
import sys

import pytest

from tune_cnn.errors import TuneCnnError
from tune_cnn.trials.joining import joined

SCRIPT = """
import signal
from tune_cnn.trials.joining import joined

def mine(number, frame): ...

signal.signal(signal.SIGTERM, mine)
taken, put = [], signal.signal

def seen(number, handler):
    if number == signal.SIGTERM:
        taken.append(handler)
    return put(number, handler)

signal.signal = seen
with joined(None, {}, quiet=True):
    print(taken, signal.getsignal(signal.SIGTERM) is mine)
"""


def test_the_callers_handler_of_sigterm_stays_in_place_while_ray_starts() -> None:
    """Ray's would raise SystemExit, which Python drops within a callback: the signal was lost."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240)
    assert ended.stdout.strip() == "[] True", ended.stderr


def test_a_ray_that_is_too_slow_to_be_up_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a bare Exception there, and its words say what happened."""

    def too_slow(**_asked: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("tune_cnn.trials.joining.ray.init", too_slow)
    said = "a Ray on this machine can't be reached or started: The current node timed out"
    with pytest.raises(TuneCnnError, match=said), joined(None, {}, quiet=True):
        pass
