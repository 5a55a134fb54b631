"""Hooks of Tune's loop: what they raise must not reach it."""

from collections.abc import Callable
from functools import wraps
from typing import Protocol, TypeVar

from tune_cnn.errors import TuneCnnError

T = TypeVar("T")
Default = TypeVar("Default")


class Failing(Protocol):
    """What keeps the first error of its hooks, and stops for it."""

    def fail(self, error: Exception) -> None: ...


def never_raises(default: Default) -> Callable[[Callable[..., T]], Callable[..., T | Default]]:
    """A failing hook would tear Ray Tune's loop: keep the error, stop the search, and raise it when the loop ended."""

    def decorate(hook: Callable[..., T]) -> Callable[..., T | Default]:
        @wraps(hook)
        def guarded(self: Failing, *args: object) -> T | Default:
            try:
                return hook(self, *args)
            except Exception as error:
                self.fail(error)
                return default

        return guarded

    return decorate


def raise_failure(failure: Exception | None) -> None:
    """After the search: what stopped it, where something did."""
    if isinstance(failure, TuneCnnError):
        raise failure
    if failure is not None:
        raise TuneCnnError(f"the search stopped on an internal error: {failure!r}") from failure
