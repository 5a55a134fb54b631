"""The kinds of dimension: fixed, a choice, a range."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Fixed:
    value: Any


@dataclass(frozen=True, kw_only=True)
class Choice:
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Range:
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


Dimension = Fixed | Choice | Range


def dimension_out(dimension: Dimension) -> Any:
    """A dimension as YAML has it; a fixed list or mapping stands in a list of its own, or it would be a choice."""
    if isinstance(dimension, Fixed):
        return [dimension.value] if isinstance(dimension.value, list | dict) else dimension.value
    if isinstance(dimension, Choice):
        return list(dimension.values)
    out: dict[str, Any] = {"low": dimension.low, "high": dimension.high}
    if dimension.log:
        out["log"] = True
    if dimension.step is not None:
        out["step"] = dimension.step
    return out


def largest(dimension: Dimension) -> Any:
    """The largest value that the dimension can take."""
    if isinstance(dimension, Range):
        return dimension.high
    return max(dimension.values) if isinstance(dimension, Choice) else dimension.value


def smallest(dimension: Dimension) -> Any:
    """The smallest value that the dimension can take."""
    if isinstance(dimension, Range):
        return dimension.low
    return min(dimension.values) if isinstance(dimension, Choice) else dimension.value
