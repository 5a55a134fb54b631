"""The cells of a profile: every combination of the values that change what a step costs, or an even part of them."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.errors import InputError, SpecError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import has_meaning, is_strategy, strategy_and_knob
from tune_cnn.spec.costs import FREE, cost_key
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Cards, may_join
from tune_cnn.untyped import Plain

MOST_LEVELS = 8  # values of a range: its ends and what lies evenly between
MOST_CELLS = 2000  # without --minutes; at 15 s a cell that is a whole night
MOST_DRAWN = 5_000  # combinations that an even part is chosen from

Params = Mapping[str, Plain]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination that is measured."""

    params: Params  # flat: the dimensions that the grid goes over, of those that mean something here
    ranks: int

    @property
    def said(self) -> str:
        ranks = {"ranks": self.ranks} if self.ranks > 1 else {}
        return " ".join(f"{key}={value}" for key, value in {**self.params, **ranks}.items()) or "1 rank"


def levels_of(spec: StudySpec) -> dict[str, list[Plain]]:
    """The values that the grid goes over, by the searched keys that change what a step costs."""
    found: dict[str, list[Plain]] = {}
    for key, dimension in spec.searched.items():
        if key in FREE:
            continue
        if key == "gradient_clip":  # clipping takes its time whatever the limit
            found[key] = list({bool(limit): limit for limit in dimension.ends}.values())
        else:
            found[key] = list(dimension.values) if isinstance(dimension, Choice) else _levels(key, dimension)
    return found


def _levels(key: str, dimension: Range) -> list[Plain]:
    """All values of a short range; of a long one its ends and what lies evenly between, in doublings on a log scale."""
    try:
        values = dimension.values
    except ValueError:
        raise SpecError(
            f"space.{key}: changes what a step costs, and {dimension} has no values to measure; give a list or a step "
            f"(--set 'space.{key}=[{dimension.low:g}, {dimension.high:g}]'), or fix it"
        ) from None
    if len(values) <= MOST_LEVELS:
        return list(values)
    if dimension.log and dimension.integer and dimension.step is None:
        doublings = [dimension.low * 2**k for k in range(int(math.log2(dimension.high / dimension.low)) + 1)]
        return _thinned([*doublings, *([dimension.high] if doublings[-1] != dimension.high else [])])
    return _thinned(values)


def _thinned(values: Sequence[Plain]) -> list[Plain]:
    if len(values) <= MOST_LEVELS:
        return list(values)
    places = [round(k * (len(values) - 1) / (MOST_LEVELS - 1)) for k in range(MOST_LEVELS)]
    return [values[place] for place in places]


def grid(spec: StudySpec, cards: Cards, ranks: Sequence[int], *, at_most: int | None) -> tuple[list[Cell], int]:
    """The cells to measure, and how many there are in all; those that cost the same are one.

    at_most: as an even part. Raises InputError where there is nothing to compare, or too much.
    """
    levels = levels_of(spec)
    check_compares(spec, levels, ranks)
    whole = math.prod(map(len, levels.values())) * len(ranks)
    if at_most is None and whole > MOST_CELLS:
        raise InputError(
            f"profile: the grid has up to {whole:,} cells, more than {MOST_CELLS:,}; --minutes M measures an even part "
            "of it, or --set fixes some of " + ", ".join(levels)
        )
    cells = _cells(spec, cards, levels, ranks, whole)
    if len(cells) < 2:
        raise InputError(
            f"profile: the grid has one cell ({cells[0].said if cells else 'none that can be trained'}), and a profile "
            "compares; give a dimension that changes a step's cost several values (--set 'space.batch_size=[64, 256]')"
        )
    for cell in cells:
        _check_batch(spec, cell)
    if at_most is None or at_most >= len(cells):
        return cells, len(cells)
    if at_most < 2:
        raise InputError("profile: --minutes leaves no time for two cells, and a profile compares; give it more")
    return even_part(cells, at_most, spec.seed), len(cells)


def check_compares(spec: StudySpec, levels: Mapping[str, Sequence[Plain]], ranks: Sequence[int]) -> None:
    """InputError where nothing that the spec leaves open changes what a step costs."""
    if not levels and len(ranks) < 2:
        raise InputError(
            f"profile: nothing in the space of {spec.study!r} changes what a step costs, so there is nothing to "
            "compare; give such a dimension several values (--set 'space.batch_size=[64, 256, 1024]'), or --ranks 1,2"
        )


def _cells(
    spec: StudySpec, cards: Cards, levels: Mapping[str, Sequence[Plain]], ranks: Sequence[int], whole: int
) -> list[Cell]:
    """One of each cost, in the grid's order; of a grid beyond all bounds, from combinations drawn at random."""
    dimensions = [list(levels[key]) for key in levels] + [list(ranks)]
    if whole <= MOST_DRAWN:
        combinations = list(itertools.product(*dimensions))
    else:
        draw = random.Random(spec.seed)
        combinations = [tuple(draw.choice(values) for values in dimensions) for _ in range(MOST_DRAWN)]
    found: dict[tuple[str, int], Cell] = {}
    for *values, count in combinations:
        given = dict(zip(levels, values, strict=True))
        params = {key: value for key, value in given.items() if has_meaning(key, {**spec.fixed, **given})}
        if _can_be(params, spec, cards):
            found.setdefault((cost_key({**spec.fixed, **params}), count), Cell(params=params, ranks=count))
    return list(found.values())


def _can_be(params: Params, spec: StudySpec, cards: Cards) -> bool:
    """Whether these strategies may be on together."""
    whole = {**spec.fixed, **params}
    on = [strategy_and_knob(key)[0] for key, value in whole.items() if is_strategy(key) and value is True]
    return all(may_join(cards[name], on, cards) for name in on)


def _check_batch(spec: StudySpec, cell: Cell) -> None:
    batch = spec.configuration(cell.params).batch_size
    if batch % cell.ranks:
        raise InputError(
            f"profile: --ranks: a batch of {batch} can't be divided over {cell.ranks} ranks; "
            f"give space.batch_size multiples of {cell.ranks}"
        )


def even_part(cells: Sequence[Cell], count: int, seed: int) -> list[Cell]:
    """So many of them, in which every value of a dimension, and every pair of values, comes up about as often.

    One after another: the cell whose values, then pairs of values, were taken least so far; among equals by lot.
    """
    values = [_values(cell) for cell in cells]
    pairs = [list(itertools.combinations(mine, 2)) for mine in values]
    left = list(range(len(cells)))
    random.Random(seed).shuffle(left)
    taken: list[int] = []
    had: Counter[object] = Counter()
    for _ in range(count):
        best = min(left, key=lambda at: (sum(had[v] for v in values[at]), sum(had[p] for p in pairs[at])))
        left.remove(best)
        taken.append(best)
        had.update([*values[best], *pairs[best]])
    return [cells[at] for at in sorted(taken)]


def _values(cell: Cell) -> list[tuple[str, str]]:
    return [(key, repr(value)) for key, value in {**cell.params, "ranks": cell.ranks}.items()]


def in_blocks(cells: Sequence[Cell], blocks: int, seed: int) -> list[tuple[int, int]]:
    """(block, index of the cell): each block has every cell once, in another order, so that drift hits all alike.

    Within a block the cells of one number of ranks follow one another, as their processes stay; the next block begins
    with the number that the last one ended with.
    """
    ranks = sorted({cell.ranks for cell in cells})
    order = []
    for block in range(blocks):
        for count in ranks if block % 2 == 0 else reversed(ranks):
            mine = [at for at, cell in enumerate(cells) if cell.ranks == count]
            random.Random(f"{seed} {block} {count}").shuffle(mine)
            order += [(block, at) for at in mine]
    return order
