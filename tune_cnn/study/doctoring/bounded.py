"""A call that may hang, as of a server or a network's disk, given up after a while."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TookLong(Exception):
    """No answer within the time."""

    def __init__(self, within_s: float) -> None:
        super().__init__(f"no answer in {within_s:.0f} s")


def bounded(call: Callable[[], T], within_s: float) -> T | Exception:
    """What it returned or raised; TookLong where it does neither. It then goes on in a thread that nobody waits for."""
    answers: list[T | Exception] = []

    def run() -> None:
        try:
            answers.append(call())
        except Exception as error:  # whatever it is, it is what the call came to
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(within_s)
    return answers[0] if answers else TookLong(within_s)
