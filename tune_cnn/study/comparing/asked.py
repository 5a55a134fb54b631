"""What is to be compared: the dimensions, their values, and how; read from the command and the spec together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tune_cnn.errors import InputError, SpecError, nearest
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.configuration import OPEN_PREFIXES, SPACE_KEYS, STRATEGIES, strategy_and_knob
from tune_cnn.spec.messages import shown
from tune_cnn.spec.reading.yaml_text import read_yaml
from tune_cnn.spec.space import USE
from tune_cnn.untyped import Plain

# Sections of a spec that may be lists here, each of whose entries is a value to compare.
SECTIONS = ("data", "model", "training", "resources.accelerator")
EACH_STRATEGY = "strategies"  # compares none of them, and each alone
NONE = "none"  # of the strategies
FEWEST_SEEDS = 2  # one shows no spread, so nothing could be said of a difference

Equal = Literal["epochs", "time"]
Values = Mapping[str, tuple[Plain, ...]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A comparison, whatever hardware it meets."""

    over: tuple[str, ...]
    values: Values  # by key; of `strategies`: their names
    seeds: int = 3
    equal: Equal = "epochs"
    beside: bool = False
    then_combine: bool = False

    def __post_init__(self) -> None:
        if self.seeds < FEWEST_SEEDS:
            raise InputError(
                f"--seeds: an interval needs at least {FEWEST_SEEDS} trainings of each cell, got {self.seeds}; "
                "3 are few, 5 show about half the difference that 3 do"
            )
        if self.equal == "time" and "epochs" in self.over:
            raise InputError("--equal time decides the epochs of each cell itself; leave epochs out of --over")
        if self.equal == "time" and self.beside:
            raise InputError(
                "--equal time needs times that hold, and runs beside others slow each other; drop --beside"
            )
        if self.then_combine and EACH_STRATEGY not in self.over:
            raise InputError(
                "--then-combine: is for --over strategies, each of which is trained alone; of other dimensions every "
                "combination is compared already"
            )

    def as_plain(self) -> dict[str, Plain]:
        """As JSON has it: what tells this comparison from another."""
        plain = asdict(self)
        return {**plain, "over": list(self.over), "values": {key: list(of) for key, of in self.values.items()}}


def asked_of(
    raw: Mapping[str, Plain], where: str, over: str, values: Sequence[str], **how: Plain
) -> tuple[StudySpec, Asked]:
    """The spec, of which the compared sections have their first value, and what is compared. Raises InputError.

    over: `KEY,KEY`; values: `KEY=a,b,c` each; how: the rest of `Asked`.
    """
    keys = _keys(over)
    given = dict(_given(text, keys) for text in values)
    whole, listed = _first_of_sections(dict(raw), where, keys, given)
    for key, of in given.items():
        if key not in SECTIONS and key != EACH_STRATEGY:
            _put(whole, key, list(of))
    spec = parse_spec(whole, where)
    sections = {key: tuple(_whole(whole, where, key, one) for one in of) for key, of in listed.items()}
    found = {key: sections[key] if key in SECTIONS else _values_of(spec, key, given) for key in keys}
    for key, of in found.items():
        if len(of) < 2:
            raise InputError(
                f"--over {key}: has one value only, {shown(of[0])}, and there is nothing to compare it with"
            )
    _refuse_open(spec, keys)
    return spec, Asked(over=keys, values=found, **how)


def _keys(over: str) -> tuple[str, ...]:
    keys = tuple(key.strip().removeprefix("space.") for key in over.split(","))
    if not all(keys):
        raise InputError(f"--over: names dimensions, as in --over batch_size,lr_rule, got {over!r}")
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"--over: {twice} stands twice; name it once")
    known = (*SPACE_KEYS, *SECTIONS, EACH_STRATEGY)
    for key in keys:
        if key not in known and not key.startswith((*OPEN_PREFIXES, STRATEGIES)):
            raise InputError(f"--over: there is no dimension {key!r}{nearest(key, known)}")
    return keys


def _given(text: str, keys: Sequence[str]) -> tuple[str, tuple[Plain, ...]]:
    key, equals, listed = text.partition("=")
    key = key.strip().removeprefix("space.")
    if not equals or not listed.strip():
        raise InputError(f"--values {text}: must be KEY=a,b,c, e.g. --values batch_size=64,128,256")
    if key not in keys:
        near = nearest(key, keys, "name it in --over too, or use --set")
        raise InputError(f"--values {key}: is not compared{near}")
    found = read_yaml(f"[{listed}]", f"--values {key}")
    twice = next((value for at, value in enumerate(found) if value in found[:at]), None)
    if twice is not None:
        raise InputError(f"--values {key}: {shown(twice)} stands twice; leave one out")
    return key, tuple(found)


def _first_of_sections(
    raw: dict[str, Plain], where: str, keys: Sequence[str], given: Values
) -> tuple[dict[str, Plain], Values]:
    """The raw spec with the first value of each list that stands for a section, and all their values."""
    listed: dict[str, tuple[Plain, ...]] = {}
    for key in SECTIONS:
        outer, _, inner = key.partition(".")
        section = raw.get(outer)
        there = section.get(inner) if inner and isinstance(section, Mapping) else None if inner else section
        if key not in keys:
            if isinstance(there, list) and outer != "resources":
                raise SpecError(f"{where}: {key}: is a list; name it in --over to compare its values, or give one")
            continue
        found = [_section(key, one, there) for one in given.get(key, there if isinstance(there, list) else ())]
        if not found:
            raise InputError(f"--over {key}: the spec has one value of it; list them there, or with --values {key}=a,b")
        listed[key] = tuple(found)
        raw[outer] = {**(raw.get(outer) or {}), inner: found[0]} if inner else found[0]
    return raw, listed


def _section(key: str, value: Plain, there: Plain) -> Plain:
    """A name stands for the section with that name; beside a data set of the spec's, with its other settings."""
    if key in {"data", "model"} and isinstance(value, str):
        return {**(there if key == "data" and isinstance(there, Mapping) else {}), "name": value}
    return value


def _whole(raw: Mapping[str, Plain], where: str, key: str, value: Plain) -> Plain:
    """The section with its defaults, and its paths from the root: the same wherever the command is given again."""
    outer, _, inner = key.partition(".")
    section = {**(raw.get(outer) or {}), inner: value} if inner else value
    dumped = parse_spec({**raw, outer: section}, where).model_dump()[outer]
    return dumped[inner] if inner else dumped


def _put(raw: dict[str, Plain], key: str, values: list[Plain]) -> None:
    """Write a dimension's values into a raw spec's space."""
    space = raw["space"] = dict(raw.get("space") or {})
    if not key.startswith(STRATEGIES):
        space[key] = values
        return
    name, knob = strategy_and_knob(key)
    strategies = space["strategies"] = dict(space.get("strategies") or {})
    there = strategies.get(name)
    knobs = there if isinstance(there, Mapping) else {} if there is None else {USE: there}
    strategies[name] = {**knobs, knob or USE: values}


def _values_of(spec: StudySpec, key: str, given: Values) -> tuple[Plain, ...]:
    if key == EACH_STRATEGY:
        return _strategies_of(spec, given.get(key))
    if key not in spec.space:
        raise InputError(
            f"--over {key}: the spec's space doesn't have it, so it has one value; give it several with "
            f"--values {key}=a,b"
        )
    dimension = spec.space[key]
    if not dimension.is_listed:
        raise InputError(
            f"--over {key}: is a range ({dimension}), and a comparison needs values; name them, as in "
            f"--values {key}={dimension.smallest:g},{dimension.largest:g}"
        )
    return tuple(dimension.values)


def _strategies_of(spec: StudySpec, wanted: Sequence[Plain] | None) -> tuple[Plain, ...]:
    """The names that the space has, or those of them that are wanted."""
    known = list(dict.fromkeys(strategy_and_knob(key)[0] for key in spec.space if key.startswith(STRATEGIES)))
    if not known:
        raise InputError("--over strategies: the spec's space has none; add them, as in strategies: {weight_norm: {}}")
    for name in wanted or ():
        if name not in (NONE, *known):
            raise InputError(f"--values strategies: the spec's space has no {name!r}{nearest(str(name), known)}")
    return (NONE, *(name for name in wanted or known if name != NONE))


def _refuse_open(spec: StudySpec, keys: Sequence[str]) -> None:
    """InputError where a dimension is neither fixed nor compared."""
    free = [key for key in spec.searched if key not in keys]
    if EACH_STRATEGY in keys:
        mine = [key for key in free if key.startswith(STRATEGIES)]
        ranges = [key for key in mine if not spec.searched[key].is_listed]
        if ranges:
            raise InputError(f"space.{ranges[0]}: is a range, and a comparison needs values; list them, or fix it")
        free = [key for key in free if key not in mine]
    if free:
        key = free[0]
        value = spec.searched[key].smallest if spec.searched[key].is_listed is False else spec.searched[key].values[0]
        raise InputError(
            f"space.{key}: is neither fixed nor compared; fix it, as in --set space.{key}={shown(value)}, or name it "
            "in --over" + (f" (the same holds for {', '.join(free[1:])})" if len(free) > 1 else "")
        )
