"""What a profile's measurements say: cells, verdict and advice, from the stored study alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import median

from tune_cnn.metrics import by_trial
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.reports.numbers import setting as shown
from tune_cnn.reports.profile_report import Advice, ProfiledCell
from tune_cnn.spec import StudySpec
from tune_cnn.states import TrialState
from tune_cnn.study.profiling.ranks import with_ranks
from tune_cnn.study.profiling.rules import (
    DISTURBED_PCT,
    NAMES,
    NEAR_PCT,
    NOISY_PCT,
    Bound,
    Stall,
    near_best,
    reached_pct,
    stall_of,
)
from tune_cnn.untyped import Plain

CELL, KNOWN = "cell", "known"  # of a trial's extra: the number of its cell; whether an earlier profile measured it


def cells_of(archive: StudyArchive, spec: StudySpec) -> list[ProfiledCell]:
    """The cells that have been measured or have failed, in the grid's order."""
    trials: dict[int, list[TrialRecord]] = {}
    for trial in archive.trials:
        if trial.state.has_ended and CELL in trial.extra:
            trials.setdefault(int(trial.extra[CELL]), []).append(trial)
    points = by_trial(archive.points)
    found = []
    for _, mine in sorted(trials.items()):
        measured = [points[t.number][-1].metrics for t in mine if t.state.has_result and t.number in points]
        found.append(_cell(mine, measured, spec))
    return with_scaling(found)


def _cell(trials: Sequence[TrialRecord], measured: Sequence[Mapping[str, float]], spec: StudySpec) -> ProfiledCell:
    first = trials[0]
    configuration = spec.configuration(first.params)
    metrics = medians(measured)
    stall = stall_of(metrics, workers=configuration.loader_workers) if metrics else _failed(trials)
    speeds = [one["images_per_s"] for one in measured]
    ranks = int(first.extra.get("ranks", 1))
    return ProfiledCell(
        params=first.params,
        batch_size=configuration.batch_size,
        loader=configuration.loader,
        workers=configuration.loader_workers,
        ranks=ranks,
        cores=with_ranks(spec, ranks).resources.cpus_per_trial,
        metrics=metrics,
        reached=reached_pct(metrics) / 100 if metrics else None,
        bound=str(stall.bound),
        called=NAMES[stall.bound],
        why=stall.why,
        spread_pct=100 * (max(speeds) - min(speeds)) / median(speeds) if len(speeds) > 1 else None,
        repeats=len(speeds),
        is_known=bool(first.extra.get(KNOWN)),
    )


def medians(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of repeats, metric by metric; the largest memory. What only some have measured counts as they did."""
    names = dict.fromkeys(name for one in measured for name in one)
    values = {name: [one[name] for one in measured if name in one] for name in names}
    return {name: max(of) if name == "peak_memory_mib" else median(of) for name, of in values.items()}


def _failed(trials: Sequence[TrialRecord]) -> Stall:
    states = {trial.state: trial.reason for trial in trials}
    if TrialState.INFEASIBLE in states:
        return Stall(bound=Bound.MEMORY, why=states[TrialState.INFEASIBLE] or "out of memory")
    return Stall(bound=Bound.FAILED, why=next(filter(None, states.values()), "no reason recorded"))


def with_scaling(cells: Sequence[ProfiledCell]) -> list[ProfiledCell]:
    """Each cell of several ranks against the same one on the fewest ranks: 1 is as many times the images a second."""
    alike: dict[str, list[ProfiledCell]] = {}
    for cell in cells:
        if cell.metrics:
            alike.setdefault(repr(sorted(cell.params.items())), []).append(cell)
    base = {key: min(mine, key=lambda cell: cell.ranks) for key, mine in alike.items()}
    found = []
    for cell in cells:
        fewest = base.get(repr(sorted(cell.params.items())))
        if cell.metrics and fewest is not None and fewest.ranks < cell.ranks:
            ratio = cell.metrics["images_per_s"] / fewest.metrics["images_per_s"]
            found.append(replace(cell, scaling=ratio * fewest.ranks / cell.ranks))
        else:
            found.append(cell)
    return found


# Advice


def advice_of(cells: Sequence[ProfiledCell]) -> list[Advice]:
    """For each setting and batch, the fewest workers as near to the best as `NEAR_PCT`; the device loader has none."""
    alike: dict[tuple[str, int], list[ProfiledCell]] = {}
    for cell in cells:
        if cell.metrics:
            alike.setdefault((repr(cell.setting), cell.batch_size), []).append(cell)
    found = []
    for mine in alike.values():
        speeds = [cell.metrics["images_per_s"] for cell in mine]
        near = [cell for cell, is_near in zip(mine, near_best(speeds), strict=True) if is_near]
        chosen = min(near, key=lambda cell: (cell.workers, -cell.metrics["images_per_s"]))
        found.append(
            Advice(
                setting=dict(chosen.setting),
                batch_size=chosen.batch_size,
                loader=chosen.loader,
                workers=chosen.workers,
                images_per_s=chosen.metrics["images_per_s"],
                best_images_per_s=max(speeds),
            )
        )
    return sorted(found, key=lambda one: (repr(one.setting), one.batch_size))


# Verdict


def verdict_of(cells: Sequence[ProfiledCell]) -> list[str]:
    """Three sentences: the fastest cell, what holds the others up and where, and what to set.

    On a machine that was too busy: that first, and no advice.
    """
    measured = [cell for cell in cells if cell.metrics]
    if not measured:
        return ["No cell could be measured.", *_failures(cells), ""][:3]
    best = max(measured, key=lambda cell: cell.metrics["images_per_s"])
    told = [_fastest(best), _where_time_goes(measured, cells)]
    doubt = _too_busy(measured)
    return [doubt, *told] if doubt is not None else [*told, _what_to_set(measured)]


def _too_busy(measured: Sequence[ProfiledCell]) -> str | None:
    """Why nothing can be told of this machine as it was; None where it can."""
    spreads = [cell.spread_pct for cell in measured if cell.spread_pct is not None]
    taken = [cell.metrics["taken_pct"] for cell in measured if "taken_pct" in cell.metrics]
    why = []
    if taken and median(taken) > DISTURBED_PCT:
        why.append(f"other work took {median(taken):.0f} % of the steps' time")
    if spreads and median(spreads) > NOISY_PCT:
        why.append(f"repeats of a cell differ by {median(spreads):.0f} %")
    if not why:
        return None
    return f"This machine was too busy to tell ({' and '.join(why)} in the median cell): profile it when it is idle."


def _fastest(best: ProfiledCell) -> str:
    return (
        f"The fastest is {_named(best)}: {best.metrics['images_per_s']:,.0f} images/s, {best.why}; it is {best.called}."
    )


def _where_time_goes(measured: Sequence[ProfiledCell], cells: Sequence[ProfiledCell]) -> str:
    counts = Counter(cell.called for cell in measured)
    told = ", ".join(
        f"{count} {_are(count)} {called}{_where(measured, called)}" for called, count in counts.most_common()
    )
    lost = "; ".join(_failures(cells))
    return f"Of {len(measured)} measured cells {told}{f'; {lost}' if lost else ''}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _where(measured: Sequence[ProfiledCell], called: str) -> str:
    """The feeds or batches that all of these cells share and no other cell has, where there are such."""
    mine, others = [c for c in measured if c.called == called], [c for c in measured if c.called != called]
    if not others:
        return ""
    told = []
    batches = sorted({cell.batch_size for cell in mine})
    if max(batches) < min(cell.batch_size for cell in others):
        told.append(f"up to a batch of {batches[-1]}")
    elif min(batches) > max(cell.batch_size for cell in others):
        told.append(f"from a batch of {batches[0]} on")
    feeds = sorted({cell.feed for cell in mine})
    if not told and not {cell.feed for cell in others} & set(feeds):
        told.append("with " + _listed([feed_named(*feed) for feed in feeds]))
    waits = [cell.metrics["data_wait_pct"] for cell in mine]
    if called == NAMES[Bound.LOADER] and max(waits) >= 1:
        spread = (
            f"{min(waits):.0f} to {max(waits):.0f}" if round(min(waits)) < round(max(waits)) else f"{max(waits):.0f}"
        )
        told.append(f"waiting {spread} % of the time")
    return f" ({', '.join(told)})" if told else ""


def _failures(cells: Sequence[ProfiledCell]) -> list[str]:
    counts = Counter(cell.called for cell in cells if not cell.metrics)
    return [f"{count} {'ran ' if called == NAMES[Bound.MEMORY] else ''}{called}" for called, count in counts.items()]


def _what_to_set(measured: Sequence[ProfiledCell]) -> str:
    """By the setting of the fastest cell: batches that want the same feed are told together."""
    best = max(measured, key=lambda cell: cell.metrics["images_per_s"])
    mine = [one for one in advice_of(measured) if tuple(one.setting.items()) == best.setting]
    if len({cell.feed for cell in measured}) == 1:
        return _among_settings(measured, best)
    told = []
    for (loader, workers), same in groupby(mine, key=lambda one: (one.loader, one.workers)):
        batches = [one.batch_size for one in same]
        several = f"{batches[0]} to {batches[-1]}" if len(batches) > 2 else " and ".join(map(str, batches))
        told.append(f"{feed_named(loader, workers)} at a batch of {several}")
    return f"Within {NEAR_PCT:.0f} % of the best with the fewest workers: {_listed(told)}."


def _among_settings(measured: Sequence[ProfiledCell], best: ProfiledCell) -> str:
    slowest = min(measured, key=lambda cell: cell.metrics["images_per_s"])
    ratio = best.metrics["images_per_s"] / slowest.metrics["images_per_s"]
    said = f"It takes {ratio:.2g} times as many images a second as the slowest, {_named(slowest)}"
    return f"{said}, which is {slowest.called}."


def feed_named(loader: str, workers: int) -> str:
    if loader == "device":
        return "the device loader"
    return f"the {loader} loader with {workers} worker{'' if workers == 1 else 's'}"


def _named(cell: ProfiledCell) -> str:
    rest = [f"{key} {shown(value)}" for key, value in cell.setting if key != "ranks" or cell.ranks > 1]
    return f"a batch of {cell.batch_size} with {feed_named(*cell.feed)}{''.join(f', {one}' for one in rest)}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


# As JSON


def document(study: str, cells: Sequence[ProfiledCell]) -> dict[str, Plain]:
    return {
        "study": study,
        "cells": [
            {
                "params": dict(cell.params),
                "batch_size": cell.batch_size,
                "loader": cell.loader,
                "loader_workers": cell.workers,
                "ranks": cell.ranks,
                "images_per_s": cell.metrics.get("images_per_s"),
                "step_time_ms": cell.metrics.get("step_time_ms"),
                "data_wait_pct": cell.metrics.get("data_wait_pct"),
                "ceiling_images_per_s": cell.metrics.get("ceiling_images_per_s"),
                "efficiency": cell.reached,
                "scaling_efficiency": cell.scaling,
                "bound": cell.bound,
                "called": cell.called,
                "why": cell.why,
                "spread_pct": cell.spread_pct,
                "repeats": cell.repeats,
                "known": cell.is_known,
                "metrics": dict(cell.metrics),
            }
            for cell in cells
        ],
        "verdict": " ".join(verdict_of(cells)),
        "advice": [
            {
                "setting": dict(one.setting),
                "batch_size": one.batch_size,
                "loader": one.loader,
                "loader_workers": one.workers,
                "images_per_s": one.images_per_s,
                "best_images_per_s": one.best_images_per_s,
            }
            for one in advice_of(cells)
        ],
    }
