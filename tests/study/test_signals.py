"""Signals while trials run: the first ends at the epoch, the second at once, and the gentle one never hurries."""

import subprocess
import sys

import pytest

from tune_cnn.study.session.signals import interrupted

SCRIPT = """
import os, signal, sys, time
from tune_cnn.study.session.signals import interruptible

told, unheard = [], []
try:
    with interruptible(lambda: told.append(1), unheard=unheard.append):
        for name in sys.argv[1:]:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.1)
    print("went on", len(told), unheard)
except KeyboardInterrupt:
    print("at once", len(told), unheard)
"""


@pytest.mark.parametrize(
    ("signals", "ends"),
    [
        (["SIGTERM"], "went on 1 []"),
        (["SIGTERM", "SIGTERM"], "at once 1 []"),
        (["SIGUSR1"], "went on 1 []"),
        (["SIGUSR1", "SIGUSR1", "SIGUSR1"], "went on 1 []"),
        (["SIGINT", "SIGUSR1"], "went on 1 []"),
        (["SIGUSR1", "SIGUSR1", "SIGINT"], "at once 1 []"),
    ],
)
def test_the_second_signal_ends_at_once_unless_it_is_the_gentle_one(signals: list[str], ends: str) -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, *signals], capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip() == ends, ended.stderr


@pytest.mark.parametrize(
    ("words", "ends"),
    [("compare x.yaml --beside", "goes on: tune-cnn compare x.yaml --beside"), ("front search", "kept.")],
)
def test_the_last_words_name_the_command_that_goes_on(words: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is one that goes on."""
    monkeypatch.setenv("TUNE_CNN_AGAIN", f"tune-cnn {words}")
    monkeypatch.setattr("sys.argv", ["tune-cnn", *words.split()])
    assert interrupted().endswith(ends)
