"""Waits for answers of Ray's: each has a bound, and says what it waited for."""

import logging
import time
from collections.abc import Callable

from tune_cnn.errors import PeerLost
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import GetTimeoutError

log = logging.getLogger(__name__)
ANSWER_S = 180.0  # a coordinator that is silent is ended by the driver, and made anew, within two minutes
PIECE_S = 60.0
SAID_S = 600.0  # a wait that may be long is told of in the log so often


def answered(refs: Untyped, of: str, *, within_s: float = ANSWER_S) -> Untyped:
    """The answers; PeerLost, which a fresh process may survive, where they don't come in time. of: whose, in words."""
    try:
        return ray.get(refs, timeout=within_s)
    except GetTimeoutError:
        raise PeerLost(f"no answer of {of} in {within_s:.0f} s") from None


def answered_some_time(ref: Untyped, of: str, *, there: Callable[[], Untyped]) -> Untyped:
    """An answer that may rightly take hours: waited for as long as who gives it is there, by another call to it."""
    begun_s = said_s = time.monotonic()
    while not ray.wait([ref], timeout=PIECE_S)[0]:
        answered(there(), of)
        if time.monotonic() - said_s > SAID_S:
            said_s = time.monotonic()
            log.info("waiting for %s for %.0f s", of, said_s - begun_s)
    return ray.get(ref, timeout=PIECE_S)
