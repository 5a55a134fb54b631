"""Configurations to choose among: the whole of a small space, else draws from it and neighbours of good ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tune_cnn.search.space import SearchSpace
from tune_cnn.spec.costs import FREE, cost_key
from tune_cnn.untyped import Plain, Untyped

WHOLE = 600  # a space of so few configurations is looked at as a whole
DRAWN, NEAR = 120, 80
AROUND = 400  # configurations beside good ones that are looked at
NEARNESS = 0.15  # standard deviation of a move along a dimension, as a share of its range
STEPPED = 16  # a dimension of so few values is walked step by step, one of more by distances
REMEMBERED = 10_000  # configurations whose rows are not laid out a second time

Encoded = dict[str, Plain]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A configuration that could be trained; `key` is its own, `cost` that of all which cost the same."""

    key: str
    encoded: Encoded
    params: Mapping[str, Plain]
    row_d: np.ndarray
    horizon: int  # epochs
    cost: str


class Candidates:
    """Draws encoded configurations and lays them out as rows of numbers between 0 and 1."""

    def __init__(self, space: SearchSpace, horizon: Callable[[Mapping[str, Plain]], int]) -> None:
        """`horizon`: how many epochs a configuration is trained for."""
        self._space, self._horizon = space, horizon
        self._distributions = space.distributions
        self._known: dict[str, Candidate] = {}
        self._whole = self._enumerated()

    @property
    def width(self) -> int:
        return len(self.row({}))

    @property
    def costly_d(self) -> np.ndarray:
        """Which of a row's columns can change what a step takes: 1, else 0."""
        cells: list[float] = []
        for name, distribution in self._distributions.items():
            count = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1
            cells += [float(name not in FREE)] * count
        return np.array(cells)

    def of(self, encoded: Encoded) -> Candidate:
        name = key(encoded)
        if name not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            params = self._space.decode(encoded)[0]
            self._known[name] = Candidate(
                key=name,
                encoded=encoded,
                params=params,
                row_d=self.row(encoded),
                horizon=self._horizon(params),
                cost=cost_key(params),
            )
        return self._known[name]

    def _enumerated(self) -> list[Candidate] | None:
        """Every configuration, where all dimensions are discrete and together few."""
        choices, size = [], 1
        for distribution in self._distributions.values():
            values = _values(distribution)
            size *= len(values) if values is not None else WHOLE + 1
            if values is None or size > WHOLE:
                return None
            choices.append(values)
        seen = {
            key(e): e for e in (self._kept(dict(zip(self._distributions, v, strict=True))) for v in product(*choices))
        }
        return [self.of(encoded) for encoded in seen.values()]

    def _kept(self, encoded: Encoded) -> Encoded:
        """Without the dimensions that mean nothing beside the others."""
        return self._space.decode(encoded)[1]

    def draw(self, rng: np.random.Generator) -> Encoded:
        drawn = {name: _draw(d, rng.random()) for name, d in self._distributions.items()}
        order = [self._space.strategies[at] for at in rng.permutation(len(self._space.strategies))]
        return self._kept(self._space.agreeing(drawn, order))

    def _with_strategies(self, encoded: Encoded) -> Encoded:
        """With those too that are off because they can't be on beside others: turning one on is a step as well."""
        return {**{name: self._space.off(name) for name in self._space.strategies}, **encoded}

    def _changed(self, encoded: Encoded, to: Mapping[str, Plain], fresh: Encoded) -> Encoded:
        """With these values: a strategy that is turned on turns those off that can't be on beside it."""
        mine = [name for name in self._space.strategies if name in to or name in encoded]
        order = sorted(mine, key=lambda name: name not in to)
        return self._kept(self._space.agreeing({**fresh, **encoded, **to}, order))

    def among(self, good: Sequence[Encoded], rng: np.random.Generator) -> list[Candidate]:
        """All of a small space; of a larger one draws, and neighbours of the good ones in one or two dimensions."""
        if self._whole is not None:
            return self._whole
        found = [self.draw(rng) for _ in range(DRAWN)]
        found += [self._near(good[at % len(good)], rng) for at in range(NEAR if good else 0)]
        return [self.of(encoded) for encoded in found]

    def around(self, good: Sequence[Encoded], rng: np.random.Generator) -> list[Candidate]:
        """What differs from one of the good ones in one dimension, by a step or another choice; some, where many do."""
        whole = [self._with_strategies(one) for one in good]
        moves = [(one, name, value) for one in whole for name in one for value in self._beside(name, one[name], rng)]
        some = rng.permutation(len(moves))[:AROUND]
        fresh = {name: _draw(d, rng.random()) for name, d in self._distributions.items()}  # what a choice brings along
        found = [self.of(self._changed(one, {name: value}, fresh)) for one, name, value in (moves[at] for at in some)]
        return list({one.key: one for one in found}.values())

    def _beside(self, name: str, value: Plain, rng: np.random.Generator) -> list[Plain]:
        """The values next to this one: every other choice, a step to either side, or two drawn near by."""
        distribution = self._distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            return [choice for choice in distribution.choices if choice != value]
        values = _values(distribution)
        if values is not None and len(values) <= STEPPED and value in values:
            at = values.index(value)
            return [*values[max(0, at - 1) : at], *values[at + 1 : at + 2]]
        places = _place(distribution, value) + rng.normal(0.0, NEARNESS, size=2)
        return [_draw(distribution, _inside(distribution, place)) for place in places]

    def _near(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        fresh = {name: _draw(d, rng.random()) for name, d in self._distributions.items()}
        to: Encoded = {}
        names = list(self._distributions)
        some = rng.choice(names, size=min(len(names), int(rng.integers(1, 3))), replace=False)
        for name in map(str, some):
            distribution = self._distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                to[name] = fresh[name]
            else:
                place = _place(distribution, encoded.get(name, fresh[name])) + rng.normal(0.0, NEARNESS)
                to[name] = _draw(distribution, _inside(distribution, place))
        return self._changed(encoded, to, fresh)

    def row(self, encoded: Mapping[str, Plain]) -> np.ndarray:
        """Numbers in their order between 0 and 1, choices as one column each; absent dimensions in the middle."""
        cells: list[float] = []
        for name, distribution in self._distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                # two columns differ between two choices: together as far apart as a number's ends
                cells += [float(encoded.get(name) == c) * 0.7 for c in distribution.choices]
            else:
                cells.append(_place(distribution, encoded[name]) if name in encoded else 0.5)
        return np.array(cells)


def key(encoded: Mapping[str, Plain]) -> str:
    return repr(sorted(encoded.items()))


def _values(distribution: Untyped) -> list[Plain] | None:
    """All values of a dimension; None where they are more than a space that is looked at as a whole can have."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if distribution.step is None:
        return None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + at * distribution.step for at in range(count)] if count <= WHOLE else None


def _draw(distribution: Untyped, share: float) -> Plain:
    """The value at this share of the dimension."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution):
        if distribution.log:
            return int(
                np.clip(round(float(np.exp(np.log(low - 0.5) + share * np.log((high + 0.5) / (low - 0.5))))), low, high)
            )
        return low + int(share * ((high - low) // step + 1)) * step
    if distribution.log:
        return float(np.exp(np.log(low) + share * np.log(high / low)))
    if step is not None:
        return low + int(share * (round((high - low) / step) + 1)) * step
    return float(low + share * (high - low))


def _inside(distribution: object, place: float) -> float:
    """Back into [0, 1) from beyond its ends.

    Real numbers are reflected, as clipped ones would pile up at the end; steps are clipped: the last one is as good a
    neighbour as another, and the fastest configurations lie there.
    """
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        place = abs(place) % 2.0
        place = min(place, 2.0 - place)
    return float(np.clip(place, 0.0, 1.0 - 1e-9))


def _place(distribution: Untyped, value: float) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if high == low:
        return 0.5
    if distribution.log:
        return float(np.log(value / low) / np.log(high / low))
    return (value - low) / (high - low)
