"""A spec's space: a value is fixed, a list is a choice, {low, high[, log][, step]} is a range; each as its key asks."""

import shlex
from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tune_cnn.errors import SpecError, nearest
from tune_cnn.spec.configuration import (
    ONLY_ABOVE_0,
    ONLY_WHERE,
    OPEN_PREFIXES,
    SPACE_KEYS,
    STRATEGIES,
    Configuration,
    strategy_and_knob,
)
from tune_cnn.spec.dimensions import Choice, Dimension, Fixed, Range, dimension_of, is_number
from tune_cnn.spec.messages import must_hold, shown
from tune_cnn.spec.value_sets import any_of, told
from tune_cnn.started import as_started
from tune_cnn.untyped import Plain

USE = "use"  # beside a strategy's knobs: whether it is on


def parse_space(raw: Mapping[str, Plain]) -> dict[str, Dimension]:
    """Every dimension of a space, each value checked against the key's own type and bounds."""
    space = {key: _parse(key, value) for key, value in _flat(raw).items()}
    for key, (other, values) in ONLY_WHERE.items():
        given = dimension_of(space, other).values
        if key in space and not any(any_of(value, values) for value in given):
            unsaid = "" if other in space else ", its default"
            raise SpecError(
                f"space.{key}: has no meaning unless {other} is {told(values)}, "
                f"got {other}: {', '.join(map(str, given))}{unsaid}; leave {key} out or change {other}"
            )
    for key, others in ONLY_ABOVE_0.items():
        for other in others if key in space else ():
            if not dimension_of(space, other).largest > 0:
                raise SpecError(
                    f"space.{key}: has no meaning unless {' and '.join(others)} can be above 0 together, and {other} "
                    f"can't; leave {key} out or give {other}"
                )
    for key in space:
        name, knob = strategy_and_knob(key) if key.startswith(STRATEGIES) else ("", None)
        if knob is not None and not dimension_of(space, STRATEGIES + name).holds(True):
            raise SpecError(f"space.{key}: has no meaning while {name} is off; leave {knob} out or turn {name} on")
    return space


def _flat(raw: Mapping[str, Plain]) -> dict[str, Plain]:
    """The space with its strategies under flat keys, as a configuration has them.

    `s3pool: {grid: 8}` has it searched on and off, with this grid; `{use: true, grid: 8}` has it on; `true` and `false`
    alone have it on with its defaults, and off.
    """
    given = raw.get("strategies", {})
    if not isinstance(given, Mapping):
        raise SpecError(
            f"space.strategies: must be a mapping of strategies, as in {{s3pool: {{}}}}, got {shown(given)}; "
            f"`{shlex.join([*as_started(), 'strategies'])}` lists them"
        )
    flat = {key: value for key, value in raw.items() if key != "strategies"}
    for name, knobs in given.items():
        if knobs is None or isinstance(knobs, Mapping):
            others = {f"{STRATEGIES}{name}.{knob}": value for knob, value in (knobs or {}).items() if knob != USE}
            flat |= {f"{STRATEGIES}{name}": (knobs or {}).get(USE, [False, True]), **others}
        else:
            flat[f"{STRATEGIES}{name}"] = knobs
    return flat


def space_out(space: Mapping[str, Dimension]) -> dict[str, Plain]:
    """A space as YAML has it, its strategies gathered under one key."""
    out: dict[str, Plain] = {}
    for key, dimension in space.items():
        if key.startswith(STRATEGIES):
            name, knob = strategy_and_knob(key)
            knobs = out.setdefault("strategies", {}).setdefault(name, {})
            knobs[knob or USE] = dimension.as_plain()
        else:
            out[key] = dimension.as_plain()
    return out


def _parse(key: str, raw: object) -> Dimension:
    if f"{key}." in OPEN_PREFIXES:
        raise SpecError(f"space.{key}: arguments stand each under a key of their own, as in {key}.width: 16")
    if not key.startswith((*OPEN_PREFIXES, STRATEGIES)) and key not in SPACE_KEYS:
        raise SpecError(f"space: unknown key {key!r}{nearest(key, [*SPACE_KEYS, 'strategies'])}")
    if key.startswith(OPEN_PREFIXES) and not key.partition(".")[2].isidentifier():
        raise SpecError(f"space.{key}: must be {key.partition('.')[0]}.<argument>, an argument's name after the dot")
    if isinstance(raw, Mapping):
        return _parse_range(key, raw)
    if isinstance(raw, list):
        return _parse_choice(key, raw)
    return Fixed(value=_check(key, raw))


def _parse_choice(key: str, raw: list[Plain]) -> Fixed | Choice:
    if not raw:
        raise SpecError(f"space.{key}: a choice needs at least one value, got an empty list")
    values = tuple(_check(key, value) for value in raw)
    for at, value in enumerate(values):
        if value in values[:at]:  # 4 and 4.0, too: one and the same to a trial's record
            raise SpecError(f"space.{key}: {shown(value)} stands twice in {shown(raw)}; leave one out")
    return Choice(values=values) if len(values) > 1 else Fixed(value=values[0])


def _parse_range(key: str, raw: Mapping[str, Plain]) -> Range:
    if set(raw) - {"low", "high", "log", "step"} or not {"low", "high"} <= set(raw):
        own = "; a mapping as a value stands in a list: [{…}]" if key.startswith(OPEN_PREFIXES) else ""
        raise SpecError(f"space.{key}: a range is {{low, high[, log][, step]}}, got {shown(dict(raw))}{own}")
    low, high = _check(key, raw["low"]), _check(key, raw["high"])
    log, step = raw.get("log", False), raw.get("step")
    if not is_number(low) or not is_number(high):
        raise SpecError(
            f"space.{key}: a range needs numbers, got low={shown(low)}, high={shown(high)}; use a list for a choice"
        )
    if not low < high:
        raise SpecError(
            f"space.{key}: low must be less than high, got low={shown(low)}, high={shown(high)}; swap them, "
            "or give one value"
        )
    if not isinstance(log, bool):
        raise SpecError(f"space.{key}: log must be true or false, got {shown(log)}")
    if log and low <= 0:
        raise SpecError(f"space.{key}: a range on a log scale starts above 0, got low={shown(low)}; raise it")
    if step is not None:
        _check_step(key, low, high, step, log=log)
    return Range(low=low, high=high, log=log, step=step)


def _check_step(key: str, low: float, high: float, step: Plain, *, log: bool) -> None:
    if not is_number(step) or not 0 < step <= high - low:
        raise SpecError(f"space.{key}: step must be more than 0 and at most high - low, got {shown(step)}")
    if log:
        raise SpecError(f"space.{key}: step and log can't both be given; drop one")
    if isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
        raise SpecError(f"space.{key}: the step of a range of whole numbers must be one too, got {shown(step)}")


def _check(key: str, value: object) -> Plain:
    """The value as the key's type, or a SpecError that says what must hold."""
    if key.startswith(OPEN_PREFIXES):
        return value
    if key.startswith(STRATEGIES):
        return _check_strategy(key, value)
    try:
        return _ADAPTERS[key].validate_python(value)
    except ValidationError as error:
        raise SpecError(f"space.{key}: {must_hold(error.errors()[0])}") from None


def _check_strategy(key: str, value: object) -> Plain:
    """What can be known without the strategy's card: see `spec.strategies`."""
    if strategy_and_knob(key)[1] is None and not isinstance(value, bool):
        raise SpecError(f"space.{key}: must be true, false or a mapping of its knobs, got {shown(value)}")
    if isinstance(value, Mapping | list) or value is None:
        raise SpecError(f"space.{key}: a knob is a number, a text, true or false, got {shown(value)}")
    return value


def _adapter(key: str) -> TypeAdapter[Plain]:
    field = Configuration.model_fields[key]
    annotated: Plain = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(annotated, config=ConfigDict(strict=True, allow_inf_nan=False))


_ADAPTERS = {key: _adapter(key) for key in SPACE_KEYS}
