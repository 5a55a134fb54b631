"""Ray, as it starts, leaves the caller's signals alone."""

import subprocess
import sys

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
