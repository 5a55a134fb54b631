"""What Ray and Tune print of their own accord: nothing on stdout, which is the caller's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.untyped import Untyped

from ray._private import worker  # isort: skip  (private: Ray has no setting for its messages on lost processes)

log = logging.getLogger(__name__)


@contextmanager
def kept_off_stdout(*, quiet: bool) -> Iterator[None]:
    """Send what Ray prints in the driver to stderr, or to our log where it should be quiet."""
    printed = worker.print_to_stdstream

    def elsewhere(data: dict[str, Untyped], *args: Untyped, **kwargs: Untyped) -> None:
        if not quiet:
            printed({**data, "is_err": True}, *args, **kwargs)
            return
        for line in data["lines"]:
            log.debug("%s: %s", data.get("pid"), line)

    worker.print_to_stdstream = elsewhere
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


@contextmanager
def tune_silent() -> Iterator[None]:
    """Tune logs that trials failed; the search says so itself, with the reason."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    if not log.isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
