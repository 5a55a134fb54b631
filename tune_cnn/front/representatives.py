"""The few points of a front that carry it: those worth training again."""

from collections.abc import Mapping, Sequence

from tune_cnn.front.choose import knee
from tune_cnn.front.dominance import best_first, costs, front, raw_values
from tune_cnn.front.hypervolume import hypervolume
from tune_cnn.metrics import EpochPoint, Metric


def representatives(
    points: Sequence[EpochPoint], objectives: Sequence[Metric], reference: Mapping[str, float], count: int
) -> list[EpochPoint]:
    """At most `count` of the front's points, in the order of their worth; for a larger count the first stay the same.

    First the knee and the best in the first objective, the two that are asked for most: without a preference, and by
    "the most accurate". Then, one after another, the point that adds most hypervolume to those taken (within 1 - 1/e of
    the best such set: hypervolume is submodular). By what each point alone contributes, neighbours would hide each
    other: two points a hair apart contribute next to nothing each, and all that both carry would be missed. The other
    ends have no place of their own: the fastest point is often one that nobody would take.
    """
    on_front = front(points, objectives)
    if not on_front:
        return []
    best = best_first(on_front, costs(raw_values(on_front, [m.name for m in objectives]), objectives))[0]
    taken = list({(p.trial, p.epoch): p for p in (knee(on_front, objectives), on_front[best])}.values())[:count]
    left = [p for p in on_front if p not in taken]
    while left and len(taken) < count:
        gained = [hypervolume([*taken, p], objectives, reference) for p in left]
        taken.append(left.pop(gained.index(max(gained))))
    return taken
