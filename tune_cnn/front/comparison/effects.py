"""What each factor does, and what pairs of factors do together beyond that, over the blocks of a full grid.

The usual contrasts of a factorial experiment (Montgomery, "Design and Analysis of Experiments", 5): a level's effect is
its mean less the first level's, over all values of the other factors; the interaction of two is how much the effect of
one differs between levels of the other. Each block, which is a seed, gives one value of a contrast.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from tune_cnn.front.comparison.intervals import Interval, student
from tune_cnn.front.prediction import by_factors
from tune_cnn.metrics import Metric
from tune_cnn.untyped import Plain

Levels = tuple[Plain, ...]  # of a cell, a level for each factor
Values = Mapping[Levels, Mapping[int, float]]  # of one metric: by cell, and by block


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Of one level, or of two levels of two factors together."""

    factors: tuple[str, ...]
    levels: tuple[Plain, ...]
    against: tuple[Plain, ...]  # the first levels
    by_factor: bool  # a ratio, to be held against 1
    interval: Interval

    @property
    def is_sure(self) -> bool:
        return self.interval.excludes(1.0 if self.by_factor else 0.0)

    def as_dict(self) -> dict[str, Plain]:
        return {
            "factors": list(self.factors), "levels": list(self.levels), "against": list(self.against),
            "kind": "ratio" if self.by_factor else "difference", **self.interval.as_dict(),
        }  # fmt: skip


def effects(factors: Sequence[str], values: Values, metric: Metric | None) -> list[Effect]:
    """Main effects, then those of pairs; none of a factor of whose grid nothing is whole.

    Only such values of the other factors count as have every cell that a contrast needs, in every block that counts.
    """
    all_values = [value for blocks in values.values() for value in blocks.values()]
    if not all_values:
        return []
    by_factor = by_factors(all_values, metric)
    of: Callable[[float], float] = math.log if by_factor else float
    known = {levels: {block: of(value) for block, value in blocks.items()} for levels, blocks in values.items()}
    ordered = [list(dict.fromkeys(levels[at] for levels in values)) for at in range(len(factors))]
    found = []
    for order in (1, 2):
        for chosen in combinations(range(len(factors)), order):
            for level in _products([ordered[at][1:] for at in chosen]):
                first = tuple(ordered[at][0] for at in chosen)
                blocks = _contrast(chosen, level, first, known)
                if blocks:
                    found.append(
                        Effect(
                            factors=tuple(factors[at] for at in chosen),
                            levels=level,
                            against=first,
                            by_factor=by_factor,
                            interval=_back(student(blocks), by_factor),
                        )
                    )
    return found


def _products(lists: Sequence[Sequence[Plain]]) -> list[tuple[Plain, ...]]:
    found: list[tuple[Plain, ...]] = [()]
    for values in lists:
        found = [(*one, value) for one in found for value in values]
    return found


def _contrast(chosen: Sequence[int], level: Levels, first: Levels, known: Values) -> list[float]:
    """A value for each block that has all cells needed: (−1)^k over the corners with k first levels, over the rest."""
    rests = {tuple(v for at, v in enumerate(levels) if at not in chosen) for levels in known}
    corners = _products([(first[at], level[at]) for at in range(len(chosen))])
    signs = {corner: (-1) ** sum(v == f for v, f in zip(corner, first, strict=True)) for corner in corners}
    cells = {rest: {corner: _joined(chosen, corner, rest) for corner in corners} for rest in rests}
    whole = [rest for rest in rests if all(cell in known for cell in cells[rest].values())]
    needed = [known[cell] for rest in whole for cell in cells[rest].values()]
    blocks = set.intersection(*(set(one) for one in needed)) if needed else set()
    return [
        fmean(sum(sign * known[cells[rest][corner]][block] for corner, sign in signs.items()) for rest in whole)
        for block in sorted(blocks)
    ]


def _joined(chosen: Sequence[int], corner: Levels, rest: Levels) -> Levels:
    """The levels of a cell, put together from those chosen and the others."""
    mine, others = iter(corner), iter(rest)
    return tuple(next(mine) if at in chosen else next(others) for at in range(len(corner) + len(rest)))


def _back(found: Interval, by_factor: bool) -> Interval:
    if not by_factor:
        return found
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(mean=math.exp(found.mean), low=low, high=high, n=found.n)
