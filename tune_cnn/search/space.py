"""A spec's space as Optuna sees it: joint, conditional, and with numbers in their order."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from tune_cnn.spec import Choice, Configuration, Dimension, Fixed, Range
from tune_cnn.spec.configuration import ONLY_WHERE


def _ordered(values: tuple[Any, ...]) -> bool:
    """Whether a choice is of three or more rising numbers, which a sampler should see as neighbours."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and len(values) > 2 and all(a < b for a, b in itertools.pairwise(values))


@dataclass(frozen=True)
class Encoded:
    """A searched dimension and its distribution: an ordered choice is an integer index, for its neighbours' sake."""

    dimension: Choice | Range

    @property
    def distribution(self) -> BaseDistribution:
        dim = self.dimension
        if isinstance(dim, Choice):
            if _ordered(dim.values):
                return IntDistribution(0, len(dim.values) - 1)
            return CategoricalDistribution([_hashable(v) for v in dim.values])
        if dim.integer:
            return IntDistribution(int(dim.low), int(dim.high), log=dim.log, step=int(dim.step or 1))
        return FloatDistribution(dim.low, dim.high, log=dim.log, step=dim.step)

    def encode(self, value: Any) -> Any:
        """The sampler's value for a configuration's; raises ValueError where it lies outside."""
        if isinstance(self.dimension, Choice):
            index = list(self.dimension.values).index(value)
            return index if _ordered(self.dimension.values) else _hashable(value)
        if not self.dimension.low <= value <= self.dimension.high:
            raise ValueError(f"{value} is not between {self.dimension.low} and {self.dimension.high}")
        return value

    def suggest(self, trial: Trial, key: str) -> Any:
        dim, distribution = self.dimension, self.distribution
        if isinstance(distribution, CategoricalDistribution):
            chosen = trial.suggest_categorical(key, distribution.choices)
            return next(v for v in dim.values if _hashable(v) == chosen)  # type: ignore[union-attr]
        if isinstance(distribution, FloatDistribution):
            return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log, step=dim.step)  # type: ignore[union-attr]
        assert isinstance(distribution, IntDistribution)
        number = trial.suggest_int(
            key, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
        return dim.values[number] if isinstance(dim, Choice) else number


def _hashable(value: Any) -> Any:
    """Optuna's categories are scalars; a list or mapping (an argument of a model) stands as its text."""
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


class SearchSpace:
    """All searched dimensions; a dimension that means nothing for a configuration is absent from it."""

    def __init__(self, space: Mapping[str, Dimension]) -> None:
        self._fixed = {key: dim.value for key, dim in space.items() if isinstance(dim, Fixed)}
        searched = {key: Encoded(dim) for key, dim in space.items() if isinstance(dim, Choice | Range)}
        # Parents first: whether a child exists depends on what was drawn for them.
        self._searched = dict(sorted(searched.items(), key=lambda item: item[0] in ONLY_WHERE))

    @property
    def searched(self) -> list[str]:
        return list(self._searched)

    def exists(self, key: str, drawn: Mapping[str, Any]) -> bool:
        """Whether a key means something beside what is drawn, fixed or left at its default."""
        if key not in ONLY_WHERE:
            return True
        other, values = ONLY_WHERE[key]
        default = Configuration.model_fields[other].default
        return drawn.get(other, self._fixed.get(other, default)) in values

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draw a configuration's parameters: searched ones, and the fixed ones that mean something beside them."""
        drawn: dict[str, Any] = {}
        for key, encoded in self._searched.items():
            if self.exists(key, drawn):
                drawn[key] = encoded.suggest(trial, key)
        return {**{k: v for k, v in self._fixed.items() if self.exists(k, drawn)}, **drawn}

    def encode(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Sampler's values and distributions of a configuration; raises ValueError where it is outside the space."""
        kept = {k: v for k, v in params.items() if k in self._searched and self.exists(k, params)}
        missing = [k for k in self._searched if self.exists(k, params) and k not in kept]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing")
        encoded = {key: self._searched[key].encode(value) for key, value in kept.items()}
        return encoded, {key: self._searched[key].distribution for key in kept}
