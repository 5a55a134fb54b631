"""Reading a hundred thousand rows at once."""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tune_cnn.untyped import Plain


class Unreadable(Exception):
    """A row doesn't hold what was written: its file is damaged."""


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within: so many new objects would have it go through all of them again and again.

    100,000 points: 1.1 s rather than 1.4 s.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def taken_out(data: dict[str, float], prefix: str) -> dict[str, float]:
    """What is named so, taken out of the mapping."""
    return {name: data.pop(name) for name in [name for name in data if name.startswith(prefix)]}


def from_json_all(texts: Sequence[str]) -> list[dict[str, Plain]]:
    """`rows.from_json` of each, in one go, which is a quarter faster."""
    try:
        found: list[dict[str, Plain]] = json.loads(f"[{','.join(texts)}]")
    except (ValueError, TypeError) as error:
        raise Unreadable(f"a point's metrics are no JSON: {error}") from None
    return found
