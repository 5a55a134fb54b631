"""Parallel coordinates: one line a trial through its searched parameters and its objectives."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from tune_cnn.metrics import Direction, Metric, Scale, unusable
from tune_cnn.reports.axes import axis
from tune_cnn.reports.numbers import ABSENT, better, number, setting, titled
from tune_cnn.reports.study_report import TrialRow
from tune_cnn.reports.thinning import sample
from tune_cnn.spec import Choice, Range
from tune_cnn.spec.dimensions import is_number
from tune_cnn.untyped import Plain

MOST_LINES = 1000
_MOST_TICKS = 8


def parallel_coordinates_figure(
    trials: Sequence[TrialRow], objectives: Sequence[Metric], searched: Mapping[str, Choice | Range]
) -> go.Figure:
    """The trials that have all objectives after their last epoch, coloured by the first one.

    Choices stand in the order of the spec, ranges and metrics on their own scales; a parameter that has no meaning in a
    trial (a momentum without sgd) stands at "–".
    """
    names = [m.name for m in objectives]
    ended = [t for t in trials if unusable(t.metrics, names) is None]
    shown = [ended[k] for k in sample(len(ended), MOST_LINES)]
    dimensions = [_parameter(name, kind, [t.params.get(name) for t in shown]) for name, kind in searched.items()]
    dimensions += [_objective(m, [t.metrics[m.name] for t in shown]) for m in objectives]
    first = objectives[0]
    color = dimensions[len(searched)]["values"] if shown else []
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={
                "color": color,
                # Dark to bright from worse to better
                "colorscale": "Viridis",
                "reversescale": first.direction is Direction.MIN,
                "showscale": False,
            },
            labelangle=-20 if len(dimensions) > 6 else 0,
            labelside="top",
        )
    )
    figure.update_layout(template="none", height=460, margin={"l": 70, "r": 70, "t": 110, "b": 40})
    return figure


def _parameter(name: str, kind: Choice | Range, values: Sequence[Plain]) -> dict[str, Plain]:
    # By kind: a range alone has a scale, linear or logarithmic.
    if isinstance(kind, Range) and all(v is None or _has_place(v, log=kind.log) for v in values):
        return _numeric(name, values, log=kind.log, write=setting)
    return _categorical(name, kind.values if kind.is_listed else [], values)


def _has_place(value: Plain, *, log: bool) -> bool:
    """Whether the value can stand on the axis of a range."""
    return is_number(value) and math.isfinite(value) and (value > 0 or not log)


def _objective(metric: Metric, values: Sequence[float]) -> dict[str, Plain]:
    title = f"{titled(metric)} {better(metric)}"
    return _numeric(title, values, log=metric.scale is Scale.LOG and min(values, default=0) > 0, write=number)


def _categorical(name: str, choices: Sequence[Plain], values: Sequence[Plain]) -> dict[str, Plain]:
    """Compared as written: True and 1 are one to Python, and warm-started trials may hold values off the list."""
    labels = list(dict.fromkeys([*map(setting, choices), *(setting(v) for v in values)]))
    places = {label: at for at, label in enumerate(labels)}
    return {
        "label": name,
        "values": np.array([places[setting(v)] for v in values], dtype=np.float32),
        "tickvals": list(places.values()),
        "ticktext": labels,
        "range": [-0.3, max(len(labels) - 0.7, 0.3)],
    }


def _numeric(name: str, values: Sequence[Plain], *, log: bool, write: Callable[[Plain], str]) -> dict[str, Plain]:
    there = [float(v) for v in values if v is not None]
    if not there:
        return _categorical(name, [], values)
    scale = axis(name, there, log=log)
    at = math.log10 if scale.log else float
    low, high = at(scale.low), at(scale.high)
    ticks = scale.ticks(_MOST_TICKS)
    places, texts = [at(t) for t in ticks], [write(t) for t in ticks]
    if len(there) < len(values):
        low -= 0.15 * (high - low)
        places, texts = [low, *places], [ABSENT, *texts]
    return {
        "label": name,
        "values": np.array([low if v is None else at(float(v)) for v in values], dtype=np.float32),
        "range": [low, high],
        "tickvals": places,
        "ticktext": texts,
    }
