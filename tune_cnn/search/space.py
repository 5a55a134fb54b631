"""A spec's space as Optuna sees it: joint, conditional, and with numbers in their order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from tune_cnn.spec import Choice, Dimension, Range
from tune_cnn.spec.configuration import STRATEGIES, conditions, has_meaning, is_strategy, strategy_and_knob
from tune_cnn.spec.dimensions import fixed_of, is_number, is_step, same, searched_of
from tune_cnn.spec.strategies import Cards, in_order, may_join
from tune_cnn.untyped import Plain


@dataclass(frozen=True)
class EncodedChoice:
    """A choice by its values' positions; three numbers or more stand in their order, as neighbours of each other."""

    dimension: Choice

    @cached_property
    def ordered(self) -> bool:
        return len(self.dimension.values) > 2 and all(is_number(v) for v in self.dimension.values)

    @cached_property
    def values(self) -> list[Plain]:
        return sorted(self.dimension.values) if self.ordered else list(self.dimension.values)

    @property
    def distribution(self) -> IntDistribution | CategoricalDistribution:
        count = len(self.dimension.values)
        return IntDistribution(0, count - 1) if self.ordered else CategoricalDistribution(range(count))

    def encode(self, value: Plain) -> int:
        """The sampler's number for a configuration's value; raises ValueError where it is none of the choice."""
        for at, known in enumerate(self.values):
            if same(known, value):
                return at
        raise ValueError(f"{value!r} is none of {self.values}")

    def decode(self, encoded: int) -> Plain:
        return self.values[encoded]

    def suggest(self, trial: Trial, key: str) -> Plain:
        distribution = self.distribution
        if isinstance(distribution, IntDistribution):
            return self.values[trial.suggest_int(key, distribution.low, distribution.high)]
        position = trial.suggest_categorical(key, distribution.choices)
        assert isinstance(position, int)
        return self.values[position]


@dataclass(frozen=True)
class EncodedRange:
    """A range of whole or real numbers."""

    dimension: Range

    @property
    def distribution(self) -> IntDistribution | FloatDistribution:
        dim = self.dimension
        if dim.integer:
            return IntDistribution(int(dim.low), int(dim.largest), log=dim.log, step=int(dim.step or 1))
        return FloatDistribution(dim.low, dim.largest, log=dim.log, step=dim.step)

    def encode(self, value: Plain) -> int | float:
        """The value itself; raises ValueError where the range doesn't hold it."""
        dim = self.dimension
        if not is_number(value) or not dim.low <= value <= dim.largest:
            raise ValueError(f"{value!r} is not between {dim.low} and {dim.largest}")
        if dim.integer and value != int(value):
            raise ValueError(f"{value} is no whole number")
        if dim.step is not None and not is_step((value - dim.low) / dim.step):
            raise ValueError(f"{value} is no multiple of {dim.step} from {dim.low}")
        return int(value) if dim.integer else float(value)

    def decode(self, encoded: int | float) -> int | float:
        return encoded

    def suggest(self, trial: Trial, key: str) -> int | float:
        d = self.distribution
        if isinstance(d, IntDistribution):
            return trial.suggest_int(key, d.low, d.high, log=d.log, step=d.step)
        return trial.suggest_float(key, d.low, d.high, log=d.log, step=d.step)


def _parents_first(key: str, turns: Mapping[str, int]) -> tuple[int, int]:
    """What a key's existence depends on is drawn before it: strategies in their order, then all their knobs."""
    of_strategy = key.startswith(STRATEGIES) and not is_strategy(key)
    return int(of_strategy) or conditions(key), turns.get(key, -1)


class SearchSpace:
    """All searched dimensions; a dimension that means nothing for a configuration is absent from it."""

    def __init__(self, space: Mapping[str, Dimension], cards: Cards | None = None) -> None:
        """`cards`: of the strategies that the space names; one without a card may be on beside any other."""
        self._cards = cards or {}
        self._fixed = fixed_of(space)
        self._conditional = {key for key in space if conditions(key) or key.startswith(STRATEGIES)}
        # By kind, as Optuna's distributions are: they live in this room alone.
        searched: dict[str, EncodedChoice | EncodedRange] = {
            key: EncodedRange(dim) if isinstance(dim, Range) else EncodedChoice(dim)
            for key, dim in searched_of(space).items()
        }
        # Parents first: whether a child exists depends on what was drawn for them.
        turns = {f"{STRATEGIES}{name}": turn for turn, name in enumerate(in_order(self._cards, self._cards))}
        self._searched = dict(sorted(searched.items(), key=lambda item: _parents_first(item[0], turns)))
        self.strategies = [key for key in self._searched if is_strategy(key)]

    @property
    def searched(self) -> list[str]:
        return list(self._searched)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {key: encoded.distribution for key, encoded in self._searched.items()}

    def decode(self, encoded: Mapping[str, Plain]) -> tuple[dict[str, Plain], dict[str, Plain]]:
        """A configuration of the sampler's numbers: its parameters, and those of the numbers that mean something."""
        drawn: dict[str, Plain] = {}
        kept: dict[str, Plain] = {}
        for key, dimension in self._searched.items():
            if self.exists(key, drawn) and key in encoded:
                kept[key] = encoded[key]
                drawn[key] = dimension.decode(encoded[key])
            elif is_strategy(key):
                drawn[key] = False
        return {**{k: v for k, v in self._fixed.items() if self.exists(k, drawn)}, **drawn}, kept

    def exists(self, key: str, drawn: Mapping[str, Plain]) -> bool:
        """Whether a key means something beside what is drawn, fixed or left at its default."""
        if key not in self._conditional:
            return True
        beside = {**self._fixed, **drawn}
        if key in self._searched and is_strategy(key):
            on = {strategy_and_knob(k)[0] for k, value in beside.items() if is_strategy(k) and value is True}
            card = self._cards.get(strategy_and_knob(key)[0])
            return card is None or may_join(card, on, self._cards)
        return has_meaning(key, beside)

    def suggest(self, trial: Trial, order: Iterable[str] = ()) -> dict[str, Plain]:
        """Draw a configuration's parameters: searched ones, and the fixed ones that mean something beside them.

        A strategy that can't be on beside those drawn before it is off, without being drawn; `order`: of these draws.
        """
        drawn: dict[str, Plain] = {}
        for key in self._in_turns(order):
            if self.exists(key, drawn):
                drawn[key] = self._searched[key].suggest(trial, key)
            elif is_strategy(key):
                drawn[key] = False
        return {**{k: v for k, v in self._fixed.items() if self.exists(k, drawn)}, **drawn}

    def shuffled_strategies(self, seed: int) -> list[str]:
        """An order in which a free draw is fair: the last of one order, which many before it exclude, would hardly ever
        be on."""
        return Random(seed).sample(self.strategies, len(self.strategies))

    def agreeing(self, encoded: Mapping[str, Plain], order: Iterable[str]) -> dict[str, Plain]:
        """The sampler's numbers, with each strategy off that can't be on beside those before it in `order`; strategies
        that `order` lacks come after."""
        found, drawn = dict(encoded), dict[str, Plain]()
        for key in self._in_turns(order):
            if key in self.strategies and key in found:
                if self.exists(key, drawn):
                    drawn[key] = self._searched[key].decode(found[key])
                else:
                    found[key] = self.off(key)
        return found

    def off(self, strategy: str) -> int | float:
        """The sampler's number of a strategy that is off."""
        return self._searched[strategy].encode(False)

    def _in_turns(self, order: Iterable[str]) -> list[str]:
        """All keys in an order in which they can be drawn: strategies in this one, but what one needs before it."""
        placed: dict[str, None] = {}

        def place(key: str) -> None:
            card = self._cards.get(strategy_and_knob(key)[0])
            for needed in sorted(card.needs) if card else ():
                if STRATEGIES + needed in self.strategies:
                    place(STRATEGIES + needed)
            placed[key] = None

        for key in [*order, *self.strategies]:
            place(key)
        turns = iter(placed)
        return [next(turns) if key in placed else key for key in self._searched]

    def encode(self, params: Mapping[str, Plain]) -> tuple[dict[str, Plain], dict[str, BaseDistribution]]:
        """The sampler's numbers and distributions of a configuration; ValueError where it is outside the space.

        Only what is searched counts: what the space fixes is the space's to say.
        """
        drawn: dict[
            str, Plain
        ] = {}  # in the order of drawing: what could be drawn for a key depends on those before it
        kept = []
        for key in self._searched:
            if self.exists(key, drawn):
                kept.append(key)
            elif is_strategy(key) and params.get(key) is True:
                raise ValueError(f"{key} can't be on beside the others")
            if key in params:
                drawn[key] = params[key]
        missing = [k for k in kept if k not in drawn]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing")
        encoded: dict[str, Plain] = {}
        for key in kept:
            try:
                encoded[key] = self._searched[key].encode(drawn[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return encoded, {key: self._searched[key].distribution for key in kept}
