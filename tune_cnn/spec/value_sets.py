"""Sets of values that a key's meaning hangs on: listed ones, or all but some."""

from dataclasses import dataclass

from tune_cnn.untyped import Plain


@dataclass(frozen=True)
class AllBut:
    """Every value but these, as `in` asks."""

    values: frozenset[str]

    def __contains__(self, value: object) -> bool:
        return value not in self.values


def told(values: "frozenset[str] | AllBut") -> str:
    """The values as a reader is told of them."""
    if isinstance(values, AllBut):
        return f"none of {', '.join(sorted(values.values))}"
    return " or ".join(sorted(values))


def any_of(value: Plain, values: frozenset[str] | AllBut) -> bool:
    """Whether a value, or one of those that `+` joins in it, is among these."""
    return any(part in values for part in (value.split("+") if isinstance(value, str) else [value]))
