"""A process seen from outside: its stacks are those of now."""

import subprocess
import sys

from tune_cnn.trials.stalls.node_processes import born, look_at
from tune_cnn.trials.stalls.stalls import Process

WAITS = """
import sys
from tune_cnn.trials.stalls.node_processes import write_stacks_on_signal
print(write_stacks_on_signal(), flush=True)
sys.stdin.readline()
"""


def test_stacks_that_were_asked_for_before_are_not_shown_again():
    """The process writes all of them into one file."""
    child = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    descriptor = int(child.stdout.readline())
    process = Process(node="n", host="here", pid=child.pid, born=born(child.pid), stacks_fd=descriptor)
    shown = [look_at({0: process}, end=False)[0].text.count("most recent call first") for _ in range(3)]
    child.communicate("\n")
    assert shown == [1, 1, 1]
