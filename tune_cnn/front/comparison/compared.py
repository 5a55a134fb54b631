"""Cells compared: means, chances to be on the front, differences to the baseline; per set of images, and over all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from tune_cnn.front.comparison.curves import Curve, curve_of
from tune_cnn.front.comparison.effects import Effect, effects
from tune_cnn.front.comparison.intervals import Interval, mean_of
from tune_cnn.front.comparison.paired import Difference, difference, holm
from tune_cnn.front.confirmed import scale_of
from tune_cnn.front.dominance import costs, front, raw_values
from tune_cnn.front.prediction import by_factors, front_probabilities
from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.untyped import Plain

CURVES = ("train_loss", "val_loss", "accuracy")


@dataclass(frozen=True, kw_only=True)
class CellRuns:
    """What the runs of one cell gave."""

    name: str
    levels: Mapping[str, Plain]
    params: Mapping[str, Plain]
    group: str  # what it is compared within: its set of images
    name_within: str  # its name among those of its group
    runs: Mapping[int, Sequence[EpochPoint]]  # of each block that has a result, its points in the order of epochs
    planned: int = 0  # runs still to come
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # how its runs ended that were not trained to their end, and the like
    resolutions: Mapping[str, float] = field(default_factory=dict)  # the steps that its accuracies come in

    @property
    def last(self) -> Mapping[int, Mapping[str, float]]:
        """The metrics at each block's end."""
        return {block: points[-1].metrics for block, points in self.runs.items() if points}


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """One cell, as it is told."""

    of: CellRuns
    metrics: Mapping[str, Interval]
    differences: Mapping[str, Difference]  # to the baseline of its group, by metric; empty of the baseline itself
    is_baseline: bool
    on_front: bool  # by its means, within its group
    probability: float | None  # that a fresh run is on the front of fresh runs
    curves: Mapping[str, Curve]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All of them."""

    cells: Sequence[ComparedCell]
    factors: Sequence[str]
    objectives: Sequence[Metric]
    effects: Mapping[str, Sequence[Effect]]  # by metric
    ranks: Mapping[str, float]  # mean rank of what is no set of images, over sets and seeds: of several sets alone
    metrics: Mapping[str, Metric | None]  # what is known of each metric that is told

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(cell.of.group for cell in self.cells))


def compared(
    cells: Sequence[CellRuns], factors: Sequence[str], objectives: Sequence[Metric], own: Mapping[str, Metric]
) -> Compared:
    """`cells`: of each group the first is its baseline. own: the user's metrics."""
    names = list(dict.fromkeys(name for cell in cells for last in cell.last.values() for name in last))
    names = [m.name for m in objectives] + [name for name in names if name not in {m.name for m in objectives}]
    metrics = {m.name: m for m in objectives} | {
        name: scale_of(name, own) for name in names if name not in {m.name for m in objectives}
    }
    told: list[ComparedCell] = []
    for group in dict.fromkeys(cell.group for cell in cells):
        told += _group([cell for cell in cells if cell.group == group], names, objectives, metrics)
    return Compared(
        cells=told,
        factors=factors,
        objectives=objectives,
        effects={m.name: effects(factors, _values(cells, factors, m.name), m) for m in objectives if len(factors) >= 1},
        ranks=_ranks(cells, objectives[0]),
        metrics=metrics,
    )


def _group(
    cells: Sequence[CellRuns], names: Sequence[str], objectives: Sequence[Metric], metrics: Mapping[str, Metric | None]
) -> list[ComparedCell]:
    base = cells[0]
    whole = [cell for cell in cells if all(_series(cell, m.name) for m in objectives)]
    chances = _chances(whole, objectives)
    means = {
        cell.name: {
            name: mean_of(list(of.values()), metrics[name], resolution=cell.resolutions.get(name, 0.0))
            for name in names
            if (of := _series(cell, name))
        }
        for cell in cells
    }
    points = [
        EpochPoint(trial=at, epoch=0, metrics={m.name: means[cell.name][m.name].mean for m in objectives})
        for at, cell in enumerate(whole)
    ]
    on_front = {whole[point.trial].name for point in front(points, objectives)}
    differences = {name: _differences(cells, base, name, metrics[name]) for name in names}
    return [
        ComparedCell(
            of=cell,
            metrics=means[cell.name],
            differences={name: of[cell.name] for name, of in differences.items() if cell.name in of},
            is_baseline=cell is base,
            on_front=cell.name in on_front,
            probability=chances.get(cell.name),
            curves={
                name: curve_of(list(cell.runs.values()), name, metrics.get(name) or scale_of(name, {}))
                for name in CURVES
                if any(name in point.metrics for points in cell.runs.values() for point in points)
            },
        )
        for cell in cells
    ]


def _series(cell: CellRuns, name: str) -> dict[int, float]:
    """A metric's value at the end of each block that has it, finite."""
    found = {block: last[name] for block, last in sorted(cell.last.items()) if name in last}
    return {block: value for block, value in found.items() if np.isfinite(value)}


def _differences(cells: Sequence[CellRuns], base: CellRuns, name: str, metric: Metric | None) -> dict[str, Difference]:
    others = [cell for cell in cells if cell is not base and _series(cell, name).keys() & _series(base, name).keys()]
    found = []
    for cell in others:
        mine, theirs = _series(cell, name), _series(base, name)
        blocks = sorted(mine.keys() & theirs.keys())
        step = max(cell.resolutions.get(name, 0.0), base.resolutions.get(name, 0.0))
        found.append(
            difference(
                [mine[b] for b in blocks], [theirs[b] for b in blocks], metric, resolution=step, compared=len(others)
            )
        )
    return dict(zip((cell.name for cell in others), holm(found), strict=True))


def _chances(cells: Sequence[CellRuns], objectives: Sequence[Metric]) -> dict[str, float | None]:
    """How often a fresh run of each is on the front of fresh runs with one seed: what seeds share is taken out."""
    if not cells:
        return {}
    by_metric = {m.name: _without_blocks([_series(cell, m.name) for cell in cells], m) for m in objectives}
    drawn = [{name: of[at] for name, of in by_metric.items()} for at in range(len(cells))]
    lost = [len(cell.failures) / max(len(cell.failures) + len(cell.runs), 1) for cell in cells]
    rng = np.random.default_rng(0)  # the same at every look
    steps = {name: max(cell.resolutions.get(name, 0.0) for cell in cells) for name in cells[0].resolutions}
    found = front_probabilities(drawn, objectives, rng=rng, failing=lost, resolutions=steps)
    return {cell.name: chance for cell, chance in zip(cells, found, strict=True)}


def _without_blocks(series: Sequence[Mapping[int, float]], metric: Metric) -> list[list[float]]:
    """Each cell's values less what their block adds to all cells: y = cell + block + rest, fitted by means."""
    logs = by_factors([value for of in series for value in of.values()], metric)
    to, back = (math.log, math.exp) if logs else (float, float)
    own = [{block: to(value) for block, value in of.items()} for of in series]
    centers = [fmean(of.values()) for of in own]
    blocks = {block for of in own for block in of}
    shared = {b: fmean(of[b] - center for of, center in zip(own, centers, strict=True) if b in of) for b in blocks}
    return [[back(value - shared[block]) for block, value in of.items()] for of in own]


def _values(
    cells: Sequence[CellRuns], factors: Sequence[str], name: str
) -> dict[tuple[Plain, ...], Mapping[int, float]]:
    return {tuple(cell.levels[f] for f in factors): of for cell in cells if (of := _series(cell, name))}


def _ranks(cells: Sequence[CellRuns], objective: Metric) -> dict[str, float]:
    """The mean rank of each cell among those of its set of images, 1 for the best, over sets and seeds."""
    groups = list(dict.fromkeys(cell.group for cell in cells))
    if len(groups) < 2:
        return {}
    places: dict[str, list[float]] = {}
    for group in groups:
        mine = [cell for cell in cells if cell.group == group]
        blocks = set.intersection(*(set(_series(cell, objective.name)) for cell in mine))
        for block in blocks:
            values = [
                EpochPoint(trial=0, epoch=0, metrics={objective.name: _series(c, objective.name)[block]}) for c in mine
            ]
            cost_n = costs(raw_values(values, [objective.name]), [objective])[:, 0]
            for cell, cost in zip(mine, cost_n.tolist(), strict=True):
                better, same = int((cost_n < cost).sum()), int((cost_n == cost).sum())
                places.setdefault(cell.name_within, []).append(better + (same + 1) / 2)
    found = {name: fmean(of) for name, of in places.items()}
    return dict(sorted(found.items(), key=lambda one: one[1])) if len(found) > 1 else {}
