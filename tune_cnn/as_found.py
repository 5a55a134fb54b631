"""The caller's process as it was: a notebook goes on after a search, with nothing of ours left in it."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def left_as_found() -> Iterator[None]:
    """Environment variables, import path, signal handlers, filters of warnings and levels of logs, whatever happens.

    What stays all the same, as an import happens once and later ones count on it: imported modules, their loggers and
    handlers, and what importing Ray before a first search adds to the path (its `thirdparty_files`, from which it
    imports later too) and to the filters of warnings. And the token of a Ray of ours, which the next one reads.
    And one setting, which Ray keeps as it was at its import: `uv run` rebuilds no worker of a later Ray either.
    """
    environment, path = dict(os.environ), list(sys.path)
    levels = {logger: logger.level for logger in _loggers()}
    handlers = _signal_handlers()
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for logger, level in levels.items():
                logger.setLevel(level)
            sys.path[:] = path
            restore_environment(environment)


def restore_environment(before: Mapping[str, str]) -> None:
    """Only what has changed since: another thread may read the rest at any time."""
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _signal_handlers() -> dict[int, "signal._HANDLER"]:
    """Ours and Ray's own; only the main thread may put a handler in place, so elsewhere there are none to restore."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    return {number: handler for number, handler in found.items() if handler is not None}  # None: not Python's to know
