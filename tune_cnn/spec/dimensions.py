"""The kinds of dimension: a value is fixed, a list is a choice, {low, high[, log][, step]} is a range."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tune_cnn.errors import SpecError, nearest
from tune_cnn.spec.configuration import ONLY_WHERE, OPEN_PREFIXES, SPACE_KEYS, Configuration

LATER = {"strategies": "time-efficient training strategies are not built yet"}


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


def parse_space(raw: Mapping[str, Any]) -> dict[str, Dimension]:
    """Every dimension of a space, each value checked against the key's own type and bounds."""
    space = {key: _parse(key, value) for key, value in raw.items()}
    for key, (other, values) in ONLY_WHERE.items():
        default = Configuration.model_fields[other].default
        given = _values(space.get(other, Fixed(value=default)))
        if key in space and not set(given) & values:
            raise SpecError(
                f"space.{key}: has no meaning where {other} is never {' or '.join(sorted(values))}, "
                f"got {other}={', '.join(map(str, given))}; leave {key} out"
            )
    return space


def _parse(key: str, raw: Any) -> Dimension:
    if key in LATER:
        raise SpecError(f"space.{key}: {LATER[key]}; leave it out")
    if not key.startswith(OPEN_PREFIXES) and key not in SPACE_KEYS:
        raise SpecError(f"space: unknown key {key!r}{nearest(key, SPACE_KEYS)}")
    if isinstance(raw, Mapping):
        return _parse_range(key, raw)
    if isinstance(raw, list):
        return _parse_choice(key, raw)
    return Fixed(value=_check(key, raw))


def _parse_choice(key: str, raw: list[Any]) -> Choice:
    if not raw:
        raise SpecError(f"space.{key}: a choice needs at least one value, got an empty list")
    values = tuple(_check(key, value) for value in raw)
    if len({(type(v), v) if not isinstance(v, list | dict) else str(v) for v in values}) < len(values):
        raise SpecError(f"space.{key}: a value stands twice in {raw}; leave one out")
    return Choice(values=values)


def _parse_range(key: str, raw: Mapping[str, Any]) -> Range:
    unknown = set(raw) - {"low", "high", "log", "step"}
    if unknown or not {"low", "high"} <= set(raw):
        raise SpecError(f"space.{key}: a range is {{low, high[, log][, step]}}, got {dict(raw)}")
    low, high = _check(key, raw["low"]), _check(key, raw["high"])
    log, step = raw.get("log", False), raw.get("step")
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        raise SpecError(f"space.{key}: a range needs numbers, got low={low!r}, high={high!r}; use a list for a choice")
    if not low < high:
        raise SpecError(f"space.{key}: low must be less than high, got low={low}, high={high}")
    if not isinstance(log, bool):
        raise SpecError(f"space.{key}: log must be true or false, got {log!r}")
    if log and low <= 0:
        raise SpecError(f"space.{key}: a range on a log scale starts above 0, got low={low}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low):
        raise SpecError(f"space.{key}: step must be between 0 and high - low = {high - low}, got {step!r}")
    if step is not None and log:
        raise SpecError(f"space.{key}: step and log can't both be given; drop one")
    if step is not None and isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
        raise SpecError(f"space.{key}: the step of a range of integers must be an integer, got {step!r}")
    return Range(low=low, high=high, log=log, step=step)


def _check(key: str, value: Any) -> Any:
    """The value as the key's type, or a SpecError that says what must hold."""
    if key.startswith(OPEN_PREFIXES):
        return value
    field = Configuration.model_fields[key]
    adapter: TypeAdapter[Any] = TypeAdapter(_annotated(field), config=ConfigDict(strict=True))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise SpecError(f"space.{key}: {error.errors()[0]['msg']}, got {value!r}") from None


def _annotated(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _values(dimension: Dimension) -> list[Any]:
    return list(dimension.values) if isinstance(dimension, Choice) else [getattr(dimension, "value", None)]


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
