"""What a command prints: its result on stdout, all else on stderr."""

import json
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

from tune_cnn.errors import TuneCnnError
from tune_cnn.text import printable
from tune_cnn.untyped import Untyped


def print_result(result: Untyped, as_json: bool, show: Callable[[Untyped], object]) -> None:
    if as_json:
        print_json(result)
    else:
        write(lambda: show(result))


def print_json(result: object) -> None:
    write(lambda: sys.stdout.write(json.dumps(result, indent=2, default=str) + "\n"))


def write(write: Callable[[], object]) -> None:
    """Write to stdout: a reader that has had enough (`| head -1`) is no failure, a full disk is."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter tries again as it exits
        if not isinstance(error, BrokenPipeError):
            raise TuneCnnError(f"stdout can't be written: {error.strerror or error}") from None


def say(text: str) -> None:
    sys.stderr.write(printable(text, keep="\n") + "\n")


def mend_streams() -> None:
    """What a terminal's encoding lacks is shown as `?`; a stream that the caller has closed takes all in silence."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
