"""A comparison in plain sentences: what is best, by how much, how sure that is, and what so few seeds could show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from tune_cnn.front.comparison.compared import Compared, ComparedCell
from tune_cnn.front.comparison.effects import Effect
from tune_cnn.front.comparison.paired import Difference
from tune_cnn.metrics import Direction, Metric, Scale
from tune_cnn.reports.numbers import ABSENT, number, quantity, setting
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """A comparison with what stands around it on its page."""

    study: str
    description: str
    state: str
    started: datetime
    compared: Compared
    seeds: int
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()
    runs_page: str | None = None
    spec_yaml: str = ""
    hardware: dict[str, Plain] = field(default_factory=dict)
    versions: dict[str, Plain] = field(default_factory=dict)


def verdict(found: Compared) -> list[str]:
    """A sentence for each objective and set of images, and one for what could have been seen."""
    told = []
    for group in found.groups:
        cells = [cell for cell in found.cells if cell.of.group == group]
        head = f"On {group}: " if group else ""
        sentences = [_best(cells, metric) for metric in found.objectives]
        if any(sentences):
            told.append(head + " ".join(one for one in sentences if one))
    told += [_seen(found, metric) for metric in found.objectives]
    told.append(_order(found))
    return [one for one in told if one]


def _best(cells: Sequence[ComparedCell], metric: Metric) -> str:
    """ "batch_size 64 has the best accuracy, 0.9612: 0.021 more than batch_size 32 (the baseline), p 0.01." """
    known = [cell for cell in cells if metric.name in cell.metrics]
    if not known:
        return ""
    sign = -1 if metric.direction is Direction.MAX else 1
    best = min(known, key=lambda cell: sign * cell.metrics[metric.name].mean)
    said = f"{best.of.name_within} has the best {metric.name}, {quantity(best.metrics[metric.name].mean, metric)}"
    if best.is_baseline:
        others = [cell.differences[metric.name] for cell in known if metric.name in cell.differences]
        sure = sum(one.is_sure for one in others)
        return f"{said}; it is the baseline, surely better than {sure} of {len(others)} others."
    of = best.differences.get(metric.name)
    if of is None:
        return f"{said}; no seed has it and the baseline both."
    doubt = "" if of.is_sure else ", which may be chance"
    return f"{said}: {by_how_much(of, metric)} the baseline's{_p(of)}{doubt}."


def by_how_much(of: Difference, metric: Metric) -> str:
    """ "0.021 above", "0.84 times" """
    if of.by_factor:
        return f"{of.value:.3g} times"
    way = "above" if of.value > 0 else "below"
    return f"{number(abs(of.value), metric)} {way}" if of.value else "equal to"


def _p(of: Difference) -> str:
    return "" if of.p_holm is None else f" (p {of.p_holm:.2g} after Holm's correction)"


def _seen(found: Compared, metric: Metric) -> str:
    """What difference so many seeds would have shown: of the median cell."""
    known = [
        of
        for cell in found.cells
        if (of := cell.differences.get(metric.name)) is not None and of.detectable is not None
    ]
    if not known:
        return ""
    size = median(one.detectable for one in known if one.detectable is not None)
    seeds = max(one.n for one in known)
    if size > (10.0 if known[0].by_factor else 0.5 if metric.scale is Scale.ERROR else math.inf):
        return f"{seeds} seeds with so much spread could hardly have shown any difference in {metric.name}; give more."
    shown = f"a factor of {size:.3g}" if known[0].by_factor else f"a difference of {number(size, metric)}"
    return f"With {seeds} seeds {shown} in {metric.name} would have been seen 8 times in 10; smaller ones need more."


def _order(found: Compared) -> str:
    """Over several sets of images."""
    if not found.ranks:
        return ""
    listed = ", ".join(f"{name} ({rank:.2g})" for name, rank in list(found.ranks.items())[:5])
    return f"Over all sets of images, by mean rank in {found.objectives[0].name}: {listed}."


def effect_words(effect: Effect) -> tuple[str, str]:
    """What is compared, and its effect with the interval."""
    what = " × ".join(
        f"{factor}: {setting(level)} for {setting(against)}"
        for factor, level, against in zip(effect.factors, effect.levels, effect.against, strict=True)
    )
    of = effect.interval
    sign = "×" if effect.by_factor else ""
    value = f"{sign}{of.mean:.3g}" if effect.by_factor else f"{of.mean:+.4g}"
    ends = "" if of.low is None or of.high is None else f" [{of.low:.3g}, {of.high:.3g}]"
    return what, f"{value}{ends}"


def factors_within(found: Compared, group: str) -> list[str]:
    """The factors whose levels tell the cells of a group apart; all where none does."""
    cells = [cell for cell in found.cells if cell.of.group == group]
    apart = [factor for factor in found.factors if len({setting(cell.of.levels[factor]) for cell in cells}) > 1]
    return apart or list(found.factors)


def cell_state(cell: ComparedCell) -> str:
    """How its runs ended, where not all went to their end."""
    told = [f"{len(cell.of.failures)} failed: {cell.of.failures[0]}"] if cell.of.failures else []
    told += [f"{cell.of.planned} to come"] if cell.of.planned else []
    return "; ".join([*told, *cell.of.notes])


def interval_text(of: Plain, metric: Metric | None) -> str:
    """ "0.9612 [0.9581, 0.9643]" """
    if of.low is None:
        return number(of.mean, metric)
    return f"{number(of.mean, metric)} [{number(of.low, metric)}, {number(of.high, metric)}]"


def difference_text(of: Difference | None, metric: Metric | None, *, is_baseline: bool) -> str:
    """ "+0.0213 [+0.01, +0.03] *" with a star where it is sure, or "×0.84 [0.8, 0.9]" """
    if of is None:
        return "baseline" if is_baseline else ABSENT
    shape = (
        "×{:.2g}"
        if of.by_factor and not 0.01 < of.value < 100
        else "×{:.3g}"
        if of.by_factor
        else "{:+.4f}"
        if metric is not None and metric.scale is Scale.ERROR
        else "{:+.3g}"
    )
    ends = "" if of.low is None or of.high is None else f" [{shape.format(of.low)}, {shape.format(of.high)}]"
    return shape.format(of.value) + ends + (" *" if of.is_sure else "")


def effect_rows(found: Compared) -> dict[str, dict[str, str]]:
    """By what is compared, the effect on each objective by its name; a star where it is sure."""
    rows: dict[str, dict[str, str]] = {}
    for m in found.objectives:
        for effect in found.effects[m.name]:
            what, value = effect_words(effect)
            rows.setdefault(what, {})[m.name] = value + (" *" if effect.is_sure else "")
    return rows


def chance(cell: ComparedCell) -> str:
    """How often a fresh run is on the front of fresh runs; "yes" and "no" by the means, where that isn't known."""
    if cell.probability is None:
        return ("yes" if cell.on_front else "no") if cell.metrics else ABSENT
    return f"{cell.probability:.0%}"
