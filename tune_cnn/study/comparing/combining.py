"""The winners together: of the strategies that pay alone, as many as go together, the best first."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from tune_cnn.front.dominance import best_first, costs, front, raw_values
from tune_cnn.metrics import EpochPoint, Metric, last_points
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import STRATEGIES, is_strategy, strategy_and_knob
from tune_cnn.spec.strategies import Cards, conflict
from tune_cnn.study.comparing.asked import EACH_STRATEGY, NONE
from tune_cnn.study.comparing.cells import Cell
from tune_cnn.untyped import Plain

Apart = Sequence[Sequence[str]]  # pairs of strategies that can't be on together


def apart_of(names: Sequence[str], cards: Cards) -> list[list[str]]:
    """The pairs that can't be on together."""
    return [[a, b] for a, b in combinations(names, 2) if conflict(cards[a], cards[b]) is not None]


def combined(archive: StudyArchive, cells: Sequence[Cell], spec: StudySpec, apart: Apart) -> list[Cell]:
    """For each combination of the other dimensions, the winners that go together; none where fewer than two do."""
    groups = _groups(cells)
    means = {cell.name: _means(archive, cell, spec.objective_metrics) for cell in cells}
    found = []
    for group in groups.values():
        together = _together(winners(group, means, spec.objective_metrics), apart)
        if len(together) > 1:
            found.append(_joined(together))
    return found


def most_together(cells: Sequence[Cell]) -> int:
    """How many cells of winners there are at most."""
    return len(_groups(cells))


def _groups(cells: Sequence[Cell]) -> dict[tuple[Plain, ...], list[Cell]]:
    """By the levels of the other dimensions."""
    groups: dict[tuple[Plain, ...], list[Cell]] = {}
    for cell in cells:
        others = tuple(str(level) for key, level in cell.levels.items() if key != EACH_STRATEGY)
        groups.setdefault(others, []).append(cell)
    return groups


def winners(
    cells: Sequence[Cell], means: Mapping[str, Mapping[str, float]], objectives: Sequence[Metric]
) -> list[Cell]:
    """The strategies on the front of the means that are better than none of them in some objective, the best first."""
    known = [cell for cell in cells if means[cell.name]]
    points = [EpochPoint(trial=at, epoch=0, metrics=means[cell.name]) for at, cell in enumerate(known)]
    none = next((at for at, cell in enumerate(known) if cell.levels[EACH_STRATEGY] == NONE), None)
    if none is None:
        return []
    costs_nk = costs(raw_values(points, [m.name for m in objectives]), objectives)
    on_front = {point.trial for point in front(points, objectives)}
    order = [int(at) for at in best_first(points, costs_nk)]
    return [known[at] for at in order if at in on_front and (costs_nk[at] < costs_nk[none]).any()]


def _means(archive: StudyArchive, cell: Cell, objectives: Sequence[Metric]) -> dict[str, float]:
    """Over the seeds that have a result; empty where none has."""
    mine = {
        trial.number
        for trial in archive.trials
        if trial.extra["cell"] == cell.name and trial.extra["role"] == "block" and trial.state.has_result
    }
    last = [point.metrics for trial, point in last_points(archive.points).items() if trial in mine]
    return {m.name: fmean(metrics[m.name] for metrics in last) for m in objectives} if last else {}


def _together(winning: Sequence[Cell], apart: Apart) -> list[Cell]:
    taken: list[Cell] = []
    for cell in winning:
        mine, others = _on(cell), {name for one in taken for name in _on(one)}
        clash = any({a, b} <= mine | others and not {a, b} <= others for a, b in apart)
        if not clash and not mine & others:
            taken.append(cell)
    return taken


def _on(cell: Cell) -> set[str]:
    return {strategy_and_knob(key)[0] for key, value in cell.params.items() if is_strategy(key) and value is True}


def _joined(cells: Sequence[Cell]) -> Cell:
    first = cells[0]
    params = dict(first.params)
    for cell in cells[1:]:
        params |= {k: v for k, v in cell.params.items() if k.startswith(STRATEGIES) and v is not False}
    label = " + ".join(str(cell.levels[EACH_STRATEGY]) for cell in cells)
    return Cell(
        levels={**first.levels, EACH_STRATEGY: label},
        params=params,
        changes=first.changes,
        data_key=first.data_key,
        images=first.images,
        pace_epochs=max(cell.pace_epochs for cell in cells),
    )
