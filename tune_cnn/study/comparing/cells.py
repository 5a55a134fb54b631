"""The cells of a comparison: every combination of the compared dimensions' values, each once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product

from tune_cnn.errors import InputError
from tune_cnn.reports.numbers import setting
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.configuration import STRATEGIES, has_meaning, is_strategy, strategy_and_knob
from tune_cnn.spec.strategies import Cards
from tune_cnn.study.comparing.asked import EACH_STRATEGY, NONE, SECTIONS, Asked
from tune_cnn.untyped import Plain

PACE_EPOCHS = 4  # that tell how long an epoch takes: a single one differs by a fifth on a machine with other work
NO_MEANING = "–"  # a dimension's level where another one leaves it without meaning


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination."""

    levels: Mapping[str, Plain]  # by compared key, as shown
    params: Mapping[str, Plain]  # flat, as searched
    changes: Mapping[str, Plain] = field(default_factory=dict)  # sections of the spec, by key
    data_key: str | None = None  # of its images
    images: Mapping[str, int] = field(default_factory=dict)  # how many its splits have
    pace_epochs: int = PACE_EPOCHS

    @property
    def group(self) -> str:
        """What it is compared within: its set of images, where there is more to compare than these; empty: all."""
        return str(self.levels["data"]) if "data" in self.levels and len(self.levels) > 1 else ""

    @property
    def name(self) -> str:
        return self.name_without("")

    def name_without(self, factor: str) -> str:
        """Its name among cells that have that factor's level in common."""
        return ", ".join(f"{key} {setting(level)}" for key, level in self.levels.items() if key != factor)

    def as_plain(self) -> dict[str, Plain]:
        return asdict(self)

    def of(self, spec: StudySpec) -> StudySpec:
        """The spec that this cell trains by."""
        return changed(spec, self.changes)


def changed(spec: StudySpec, changes: Mapping[str, Plain]) -> StudySpec:
    """A spec with other sections."""
    if not changes:
        return spec
    raw = spec.model_dump()
    for key, value in changes.items():
        outer, _, inner = key.partition(".")
        raw[outer] = {**raw[outer], inner: value} if inner else value
    return parse_spec(raw, f"the spec with {', '.join(f'{k} {_label(k, v)}' for k, v in changes.items())}")


def cells_of(asked: Asked, spec: StudySpec, cards: Cards) -> list[Cell]:
    """Every combination, those that come to the same once. The first values together are the baseline, the first cell.

    `spec`: as the hardware can have it, so that values which it lacks are gone. Raises InputError.
    """
    levels = [_levels(key, asked, spec, cards) for key in asked.over]
    for key, of in zip(asked.over, levels, strict=True):
        if not of:
            raise InputError(f"--over {key}: nothing is left of its values here")
    found: list[Cell] = []
    for combination in product(*levels):
        cell = _cell(asked.over, combination, spec)
        if all((one.params, one.changes) != (cell.params, cell.changes) for one in found):
            found.append(cell)
    if len(found) < 2:
        raise InputError(
            f"--over {','.join(asked.over)}: one cell is left here, and there is nothing to compare it with"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A value of one dimension: how it is shown, and what it makes of a cell."""

    shown: Plain
    params: Mapping[str, Plain] = field(default_factory=dict)
    changes: Mapping[str, Plain] = field(default_factory=dict)


def _levels(key: str, asked: Asked, spec: StudySpec, cards: Cards) -> list[_Level]:
    if key in SECTIONS:
        labels = _told_apart(key, asked.values[key])
        return [
            _Level(shown=label, changes={key: value}) for label, value in zip(labels, asked.values[key], strict=True)
        ]
    if key == EACH_STRATEGY:
        return list(_strategy_levels(asked.values[key], spec, cards))
    return [_Level(shown=v, params={key: v}) for v in asked.values[key] if spec.dimension(key).holds(v)]


def _strategy_levels(names: Sequence[Plain], spec: StudySpec, cards: Cards) -> Iterator[_Level]:
    """None of them, then each with what it needs and no other, with every combination of its knobs' listed values."""
    off = {key: False for key in spec.space if is_strategy(key)}
    for name in names:
        if name == NONE:
            yield _Level(shown=NONE, params=off)
            continue
        needed = sorted(cards[name].needs)
        knobs = {
            k: d
            for k, d in spec.space.items()
            if k.startswith(STRATEGIES) and not is_strategy(k) and strategy_and_knob(k)[0] in (name, *needed)
        }
        several = {k: d.values for k, d in knobs.items() if len(d.ends) > 1}
        for values in product(*several.values()):
            chosen = dict(zip(several, values, strict=True))
            told = ", ".join(f"{k.rpartition('.')[2]}={setting(v)}" for k, v in chosen.items())
            label = f"{name} ({told})" if told else " with ".join([str(name), *needed])
            on = dict.fromkeys([f"{STRATEGIES}{one}" for one in (*needed, name)], True)
            yield _Level(shown=label, params={**off, **on, **chosen})


def _told_apart(key: str, values: Sequence[Plain]) -> list[str]:
    """A label for each; those that are alike are told apart by what differs."""
    labels = [_label(key, value) for value in values]
    if len(set(labels)) == len(labels):
        return labels
    wholes = [value if isinstance(value, Mapping) else {"name": value} for value in values]
    differing = [k for k in dict.fromkeys(k for w in wholes for k in w) if len({repr(w.get(k)) for w in wholes}) > 1]
    told = [", ".join(f"{k}={setting(w.get(k))}" for k in differing if k != "name") for w in wholes]
    return [f"{label} ({more})" if more else label for label, more in zip(labels, told, strict=True)]


def _label(key: str, value: Plain) -> str:
    if isinstance(value, Mapping):
        return str(value.get("name", value))
    return "tune_cnn" if value is None and key == "training" else str(value)


def _cell(keys: Sequence[str], combination: Sequence[_Level], spec: StudySpec) -> Cell:
    params = {key: value for level in combination for key, value in level.params.items()}
    whole = {**spec.fixed, **params}
    kept = {key: value for key, value in params.items() if has_meaning(key, whole)}
    levels = {
        key: level.shown if not level.params or any(k in kept for k in level.params) else NO_MEANING
        for key, level in zip(keys, combination, strict=True)
    }
    return Cell(levels=levels, params=kept, changes={k: v for level in combination for k, v in level.changes.items()})
