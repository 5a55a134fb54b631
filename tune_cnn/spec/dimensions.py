"""The algebra of dimensions: what a fixed value, a choice and a range each know of their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, overload

from tune_cnn.spec.configuration import Configuration, is_strategy
from tune_cnn.spec.messages import number, shown
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """One value: nothing is searched."""

    value: Plain

    is_listed: ClassVar[bool] = True

    @property
    def values(self) -> tuple[Plain, ...]:
        return (self.value,)

    @property
    def ends(self) -> tuple[Plain, ...]:
        return self.values

    @property
    def smallest(self) -> Plain:
        return self.value

    @property
    def largest(self) -> Plain:
        return self.value

    def holds(self, value: object) -> bool:
        return same(value, self.value)

    def as_plain(self) -> Plain:
        """As YAML has it; a list or mapping stands in a list of its own, or it would be a choice or a range."""
        return [self.value] if isinstance(self.value, list | dict) else self.value


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Any of the values that are listed."""

    values: tuple[Plain, ...]

    is_listed: ClassVar[bool] = True

    @property
    def ends(self) -> tuple[Plain, ...]:
        return self.values

    @property
    def smallest(self) -> Plain:
        return min(self.values)

    @property
    def largest(self) -> Plain:
        return max(self.values)

    def holds(self, value: object) -> bool:
        return any(same(value, known) for known in self.values)

    def as_plain(self) -> list[Plain]:
        """As YAML has it."""
        return list(self.values)

    def __str__(self) -> str:
        return ", ".join(map(shown, self.values))


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from low to high: whole ones where both are, all real ones in between, or the steps from low on."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    is_listed: ClassVar[bool] = False

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def values(self) -> Sequence[Plain]:
        """Counted, never laid out: there may be 10⁸ of them. ValueError for real numbers without a step."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return range(self.low, self.high + 1, int(self.step or 1))
        if self.step is None:
            raise ValueError(f"{self} has no list of values")
        return _Steps(self.low, self.high, self.step)

    @property
    def ends(self) -> tuple[Plain, ...]:
        """The values that stand for all: of a range its two ends, of a list every one."""
        return self.smallest, self.largest

    @property
    def smallest(self) -> Plain:
        return self.low

    @property
    def largest(self) -> Plain:
        """The last one that the steps reach, which may be less than `high`."""
        return self.high if self.step is None else self.values[-1]

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.largest:
            return False
        if self.integer and not isinstance(value, int):
            return False
        return self.step is None or is_step((value - self.low) / self.step)

    def as_plain(self) -> dict[str, Plain]:
        """As YAML has it."""
        out: dict[str, Plain] = {"low": self.low, "high": self.high}
        if self.log:
            out["log"] = True
        if self.step is not None:
            out["step"] = self.step
        return out

    def __str__(self) -> str:
        return f"{'a whole number' if self.integer else 'a number'} from {number(self.low)} to {number(self.high)}"


Dimension = Fixed | Choice | Range


class _Steps(Sequence[float]):
    """low, low + step, … up to high, each made when it is asked for; decimal, or 0.1 · 3 would be no 0.3."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._low, self._step = Decimal(str(low)), Decimal(str(step))
        self._places = range(int((Decimal(str(high)) - self._low) // self._step) + 1)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[float]: ...
    def __getitem__(self, at: int | slice) -> float | Sequence[float]:
        if isinstance(at, slice):
            return [self[place] for place in self._places[at]]
        return float(self._low + self._places[at] * self._step)


def is_number(value: object) -> bool:
    """True and False are none, though Python counts them as integers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: object, other: object) -> bool:
    """Whether two values are one to a spec: 1 and 1.0 are, 1 and true are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def is_step(steps: float) -> bool:
    """Whether a distance in steps is a whole number of them, but for a float's rounding."""
    return abs(steps - round(steps)) <= 1e-8


def dimension_of(space: Mapping[str, Dimension], key: str) -> Dimension:
    """What a space says of a key, else the key's default; a strategy that it doesn't name is off.

    KeyError for a key without a default: an argument of the model's or a strategy's knob.
    """
    if key in space:
        return space[key]
    if is_strategy(key):
        return Fixed(value=False)
    return Fixed(value=Configuration.model_fields[key].default)


def fixed_of(space: Mapping[str, Dimension]) -> dict[str, Plain]:
    """The values that a space leaves no choice of."""
    return {key: dimension.value for key, dimension in space.items() if isinstance(dimension, Fixed)}


def searched_of(space: Mapping[str, Dimension]) -> dict[str, Choice | Range]:
    """The dimensions that a space leaves open."""
    return {key: dimension for key, dimension in space.items() if not isinstance(dimension, Fixed)}
