"""Searches of every sampler over made-up curves, and what Optuna holds of them."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.search import Past, Search
from tune_cnn.spec.parts import SAMPLER_ARGUMENTS
from tune_cnn.states import TrialState

Curve = Callable[..., Sequence[EpochPoint]]
SAMPLERS = list(SAMPLER_ARGUMENTS)
SMALL = {"tpe": {"n_startup_trials": 5}, "gp": {"n_startup_trials": 5}, "nsga2": {"population_size": 5}}
FAILURES = (TrialState.FAILED, TrialState.INFEASIBLE)


def trials_of(search: Search) -> list[optuna.trial.FrozenTrial]:
    return search._optuna.trials


def run(search: Search, curve: Curve, count: int, first: int = 0) -> list[Past]:
    """Trials two at a time: one in five fails, one runs out of memory, one lacks its constraint's metric."""
    ended, running = [], []
    for number in range(first, first + count):
        running.append((number, search.ask(number)))
        if len(running) == 2 or number == first + count - 1:
            ended += [end(search, curve, *running.pop(0)) for _ in range(len(running) if number % 2 else 1)]
    ended += [end(search, curve, *one) for one in running]
    return ended


def end(search: Search, curve: Curve, number: int, params: dict[str, Any]) -> Past:
    points, state = curve(number, params), FAILURES[number % 5] if number % 5 < 2 else None
    if state is None:
        state = TrialState.COMPLETE if number % 2 else TrialState.STOPPED
        if number % 5 == 4:
            metrics = {k: v for k, v in points[-1].metrics.items() if k != "images_per_s"}
            points = [*points[:-1], EpochPoint(trial=number, epoch=2, metrics=metrics)]
    else:
        points = points[: number % 2]
    for point in points:
        assert search.observe(point) is False
    search.finish(number, state, points)
    return Past(params=params, state=state, points=points)
