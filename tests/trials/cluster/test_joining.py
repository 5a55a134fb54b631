"""Ray, as it starts: it leaves the caller's signals alone, and what goes wrong is an error that says so.

In processes of their own: this one's Ray is shared with other tests.
"""

import subprocess
import sys

SIGNALS = """
import signal
from tune_cnn.trials.cluster.joining import joined

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

SLOW = """
from tune_cnn.errors import TuneCnnError
from tune_cnn.trials.cluster import joining

def too_slow(**asked):
    raise Exception("The current node timed out during startup. This could happen because ...")

joining.ray.init = too_slow
try:
    with joining.joined(None, {}, quiet=True):
        pass
except TuneCnnError as error:
    print(error)
"""


def said(script: str) -> str:
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_callers_handler_of_sigterm_stays_in_place_while_ray_starts() -> None:
    """Ray's would raise SystemExit, which Python drops within a callback: the signal was lost."""
    assert said(SIGNALS) == "[] True"


def test_a_ray_that_is_too_slow_to_be_up_is_an_error_that_says_so() -> None:
    """Ray raises a bare Exception there, and its words say what happened."""
    assert said(SLOW).startswith("a Ray on this machine can't be reached or started: The current node timed out")
