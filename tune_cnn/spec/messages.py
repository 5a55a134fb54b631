"""What a spec's reader is told: pydantic's errors in the words of a spec, and values as YAML shows them."""

import difflib
import json
from collections.abc import Callable, Mapping

from tune_cnn.errors import nearest
from tune_cnn.untyped import Plain

LONGEST = 120  # characters of a value that are worth showing

_Context = Mapping[str, Plain]
_HOLDS: dict[str, Callable[[_Context], str]] = {
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "greater_than": lambda c: f"must be more than {number(c['gt'])}",
    "greater_than_equal": lambda c: f"must be at least {number(c['ge'])}",
    "less_than": lambda c: f"must be less than {number(c['lt'])}",
    "less_than_equal": lambda c: f"must be at most {number(c['le'])}",
    "too_short": lambda c: f"must have at least {c['min_length']} {'value' if c['min_length'] == 1 else 'values'}",
    "string_too_short": lambda _: "must not be empty",
    "finite_number": lambda _: "must be a finite number",
}


def shown(value: object) -> str:
    """A value as YAML has it, cut where it is long."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) or value < 10**6 else str(value)


def must_hold(error: Mapping[str, Plain], keys: list[str] | None = None) -> str:
    """One of pydantic's errors as: what must hold, what came, what to do. `keys`: those of a section."""
    kind, came, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is required and missing"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        known = f"; its keys are {', '.join(keys)}" if keys else ""
        return f"must be a mapping of keys, got {shown(came)}{known}"
    if kind == "string_type":
        quote = f'; put it in quotes: "{shown(came)}"' if isinstance(came, int | float) else ""
        return f"must be text, got {shown(came)}{quote}"
    if kind == "literal_error":
        allowed = [choice.strip().strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(", ")]
        hint = nearest(came, allowed) if isinstance(came, str) and _close(came, allowed) else ""
        return f"must be {_listed(allowed, 'or')}, got {shown(came)}{hint}"
    said = _HOLDS[kind](context) if kind in _HOLDS else str(error["msg"])
    return f"{said}, got {shown(came)}"


def _close(name: str, known: list[str]) -> bool:
    return bool(difflib.get_close_matches(name, known, cutoff=0.6))


def _listed(names: list[str], last: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
