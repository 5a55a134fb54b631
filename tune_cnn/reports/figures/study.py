"""Interactive figures of a study, from plain data: the front, the trials' curves, importances, hypervolume."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tune_cnn.front.choose import knee
from tune_cnn.metrics import Direction, EpochPoint, Metric, Scale
from tune_cnn.reports.numbers import better, number, quantity, setting, titled
from tune_cnn.reports.thinning import best_few, curve_sample, dominated_sample, usable
from tune_cnn.untyped import Plain

FAINT, FRONT, KNEE = "rgba(115,128,150,0.35)", "#2f6fed", "#e8590c"
MOST_DOMINATED, MOST_FRONT = 1800, 400  # points in a figure: hover of more would make the page too large to open
MOST_CURVES, MOST_CURVE_POINTS = 200, 6000
_HOVER_METRICS, _HOVER_SETTINGS = 8, 12  # the latter for points off the front; those on it show all
_FEW_DECADES = 1e3  # up to this ratio an axis has room for 1, 2 and 5 of each decade

Params = Mapping[int, Mapping[str, Plain]]


def front_figure(
    points: Sequence[EpochPoint],
    front_points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    params_by_trial: Params,
) -> go.Figure:
    """Every epoch point, faint, and the front, bold; one panel for each pair of objectives.

    With one objective it is drawn over the epochs. Hover tells trial, epoch, metrics and parameters.
    """
    pairs: list[tuple[Metric, Metric | None]] = [*combinations(objectives, 2)] or [(objectives[0], None)]
    columns = min(len(pairs), 3)
    figure = make_subplots(rows=-(-len(pairs) // columns), cols=columns, horizontal_spacing=0.09, vertical_spacing=0.12)
    others = dominated_sample(usable(points, objectives), front_points, most_dominated(objectives))
    best = knee(front_points, objectives) if front_points else None
    shown = best_few(front_points, best, MOST_FRONT) if best is not None else []
    hover_others = [_hover(p, objectives, params_by_trial, objectives) for p in others]
    hover_front = [_hover(p, objectives, params_by_trial, None) for p in shown]
    for at, (up, across) in enumerate(pairs):
        if at == 1:  # the whole of it once: repeated in every panel it would make up most of the page
            hover_others, hover_front = [_name(p) for p in others], [_name(p) for p in shown]
        place = {"row": at // columns + 1, "col": at % columns + 1}
        for trace in (
            _points_trace("epoch points", others, up, across, hover_others, size=5, color=FAINT),
            _front_trace(shown, objectives, up, across, hover_front),
            _knee_trace([best] if best is not None else [], objectives, params_by_trial, up, across),
        ):
            figure.add_trace(trace.update(showlegend=at == 0), **place)
        figure.update_yaxes(**metric_axis(up, _values(others + shown, up)), **place)
        figure.update_xaxes(**_across_axis(across, others + shown), **place)
    return styled(figure, height=520 if columns == 1 else 400 * -(-len(pairs) // columns) + 40)


def _panels(objectives: Sequence[Metric]) -> int:
    return max(1, math.comb(len(objectives), 2))


def most_dominated(objectives: Sequence[Metric]) -> int:
    """How many points off the front are drawn: each stands in every panel."""
    return MOST_DOMINATED // _panels(objectives)


def _xy(points: Sequence[EpochPoint], up: Metric, across: Metric | None) -> dict[str, Plain]:
    x = [p.metrics[across.name] if across is not None else p.epoch for p in points]
    return {"x": x, "y": [p.metrics[up.name] for p in points]}


def _points_trace(
    name: str, points: Sequence[EpochPoint], up: Metric, across: Metric | None, hover: list[str], **marker: object
) -> go.Scatter:
    return go.Scatter(
        **_xy(points, up, across), mode="markers", name=name, legendgroup=name, marker=marker, text=hover,
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _front_trace(
    front: Sequence[EpochPoint], objectives: Sequence[Metric], up: Metric, across: Metric | None, hover: list[str]
) -> go.Scatter:
    trace = _points_trace("front", front, up, across, hover, size=9, color=FRONT, line={"width": 1, "color": "white"})
    if len(objectives) == 2 and across is not None:
        order = sorted(range(len(front)), key=lambda k: (trace.x[k], trace.y[k]))
        trace.update(x=[trace.x[k] for k in order], y=[trace.y[k] for k in order], text=[hover[k] for k in order])
        shape = "hv" if across.direction is Direction.MIN else "vh"
        trace.update(mode="lines+markers", line={"shape": shape, "width": 2, "color": FRONT})
    return trace


def _knee_trace(
    best: Sequence[EpochPoint], objectives: Sequence[Metric], params_by_trial: Params, up: Metric, across: Metric | None
) -> go.Scatter:
    hover = [_hover(p, objectives, params_by_trial, None) for p in best]
    edge = {"width": 1.5, "color": "white"}
    name = "knee" if len(objectives) > 1 else "best"
    return _points_trace(name, best, up, across, hover, size=15, color=KNEE, symbol="diamond", line=edge)


def _name(point: EpochPoint) -> str:
    return f"<b>trial {point.trial}, epoch {point.epoch}</b>"


def _hover(
    point: EpochPoint, objectives: Sequence[Metric], params_by_trial: Params, only: Sequence[Metric] | None
) -> str:
    """`only`: these metrics; None: the objectives and the point's others, too."""
    known = {m.name: m for m in objectives}
    names = [m.name for m in only or objectives]
    if only is None:
        names += [name for name in point.metrics if name not in known][:_HOVER_METRICS]
    lines = [_name(point)]
    for name in names:
        value = point.metrics[name]
        lines.append(f"{escape(name)}: {quantity(value, known[name]) if name in known else f'{value:.4g}'}")
    settings = [f"{k}={setting(v)}" for k, v in params_by_trial.get(point.trial, {}).items()]
    if only is not None and len(settings) > _HOVER_SETTINGS:
        settings = [*settings[:_HOVER_SETTINGS], "…"]
    lines += [escape("  ".join(settings[k : k + 3])) for k in range(0, len(settings), 3)]
    return "<br>".join(lines)


def curves_figure(
    points: Sequence[EpochPoint], front_points: Sequence[EpochPoint], objectives: Sequence[Metric]
) -> go.Figure:
    """How each trial's first objective went, over each other objective or over its epochs, as the reader chooses."""
    up, *others = objectives
    good = usable(points, objectives)
    curves = curve_sample(good, front_points, most_curves(good))
    best = knee(front_points, objectives) if front_points else None
    knee_trial = best.trial if best is not None else None
    on_front = {p.trial for p in front_points}
    groups = (
        ("other trials", FAINT, 1.2, [c for t, c in curves.items() if t not in on_front]),
        ("trials on the front", FRONT, 1.6, [c for t, c in curves.items() if t in on_front and t != knee_trial]),
        ("the knee's trial", KNEE, 3.0, [c for t, c in curves.items() if t == knee_trial]),
    )
    choices: list[Metric | None] = [*others, None]
    figure = go.Figure()
    xs: list[list[np.ndarray]] = [[] for _ in choices]
    for name, color, width, group in groups:
        for column, across in zip(xs, choices, strict=True):
            column.append(_joined(group, across.name if across is not None else None))
        figure.add_trace(
            go.Scatter(
                x=xs[0][-1], y=_joined(group, up.name), mode="lines+markers", name=name,
                customdata=_trial_and_epoch(group), line={"width": width, "color": color}, marker={"size": 4},
                hovertemplate=f"trial %{{customdata[0]}}, epoch %{{customdata[1]}}<br>{escape(up.name)} %{{y:.4~g}}"
                "<br>x %{x:.4~g}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_yaxes(**metric_axis(up, _values(good, up)))
    axes = [_across_axis(across, good) for across in choices]
    figure.update_xaxes(**axes[0])
    if len(choices) > 1:
        names = [f"over {across.name}" if across is not None else "over epochs" for across in choices]
        figure.update_layout(updatemenus=[_switch(names, xs, axes)])
    return styled(figure, height=460)


def most_curves(points: Sequence[EpochPoint]) -> int:
    """How many trials' curves are drawn: fewer where they are long."""
    mean_epochs = len(points) / max(1, len({p.trial for p in points}))
    return max(2, min(MOST_CURVES, int(MOST_CURVE_POINTS / max(mean_epochs, 1))))


def _switch(
    names: Sequence[str], xs: Sequence[list[np.ndarray]], axes: Sequence[Mapping[str, Plain]]
) -> dict[str, Plain]:
    """Buttons that exchange what the x axis shows."""
    buttons = [
        {
            "label": escape(name),
            "method": "update",
            "args": [
                {"x": [[None if np.isnan(v) else round(float(v), 6) for v in column] for column in x]},
                {
                    "xaxis.title.text": axis["title"]["text"],
                    "xaxis.type": axis["type"],
                    "xaxis.tickmode": "array" if axis.get("tickvals") else "auto",
                    "xaxis.tickvals": axis.get("tickvals"),
                    "xaxis.ticktext": axis.get("ticktext"),
                    "xaxis.autorange": True,
                },
            ],
        }
        for name, x, axis in zip(names, xs, axes, strict=True)
    ]
    return {
        "type": "buttons",
        "direction": "right",
        "buttons": buttons,
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"b": 2},
        "showactive": False,  # plotly.js marks the active one in a light colour that a dark page can't have
        "xanchor": "left",
    }


def _joined(curves: Sequence[Sequence[EpochPoint]], name: str | None) -> np.ndarray:
    """All the curves in one array, NaN between them; name None: the epochs."""
    values = [
        value
        for curve in curves
        for value in (*(p.metrics[name] if name is not None else p.epoch for p in curve), np.nan)
    ]
    return np.array(values, dtype=np.float32)


def _trial_and_epoch(curves: Sequence[Sequence[EpochPoint]]) -> np.ndarray:
    rows = [row for curve in curves for row in (*((p.trial, p.epoch) for p in curve), (0, 0))]
    return np.array(rows, dtype=np.int32).reshape(-1, 2)


def importances_figure(importances: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """How much each searched parameter decides of each objective; the bars of an objective sum to 1."""
    total: dict[str, float] = {}
    for shares in importances.values():
        for name, share in shares.items():
            total[name] = total.get(name, 0.0) + share
    order = sorted(total, key=lambda name: total[name])
    figure = go.Figure()
    for color, (objective, shares) in zip(
        (FRONT, KNEE, "#2b8a3e", "#9c36b5") * len(importances), importances.items(), strict=False
    ):
        figure.add_trace(
            go.Bar(
                y=[escape(name) for name in order], x=[shares.get(name, 0.0) for name in order], orientation="h",
                name=escape(objective), marker={"color": color},
                hovertemplate="%{y}: %{x:.2f}<extra>" + escape(objective) + "</extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title={"text": "importance (share of the objective's variation)"}, rangemode="tozero")
    figure.update_layout(bargap=0.35, legend={"traceorder": "reversed"})
    return styled(figure, height=130 + 22 * max(1, len(importances)) * max(3, len(order)))


def hypervolume_figure(trace: Sequence[tuple[float, float]], x_title: str) -> go.Figure:
    """How the front's hypervolume grew; `trace`: (x, hypervolume)."""
    figure = go.Figure(
        go.Scatter(
            x=[x for x, _ in trace], y=[y for _, y in trace], mode="lines" if len(trace) > 1 else "markers",
            line={"shape": "hv", "width": 2.5, "color": FRONT},
            hovertemplate=f"{escape(x_title)} %{{x}}<br>hypervolume %{{y:.4~g}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title={"text": escape(x_title)})
    figure.update_yaxes(title={"text": "hypervolume"})
    return styled(figure, height=340)


def metric_axis(metric: Metric, values: Sequence[float]) -> dict[str, Plain]:
    """A metric's axis. On a log one plotly would label 20 as a small 2, so the ticks are written out."""
    title = {"text": escape(f"{titled(metric)} {better(metric)}")}
    low, high = min(values, default=1.0), max(values, default=1.0)
    if metric.scale is not Scale.LOG or low <= 0:
        return {"title": title, "type": "linear"}
    factors = (1, 2, 5) if high / low < _FEW_DECADES else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [float(f"{f}e{d}") for d in range(first - 1, last + 2) for f in factors]
    minor = {"ticks": "outside", "ticklen": 3, "dtick": "D1"}
    return {"title": title, "type": "log", "tickvals": ticks, "ticktext": [number(t) for t in ticks], "minor": minor}


def _across_axis(metric: Metric | None, points: Sequence[EpochPoint]) -> dict[str, Plain]:
    if metric is None:
        return {"title": {"text": "epoch"}, "type": "linear", "tickvals": None, "ticktext": None}
    return metric_axis(metric, _values(points, metric))


def _values(points: Sequence[EpochPoint], metric: Metric) -> list[float]:
    return [p.metrics[metric.name] for p in points]


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """Colours of text, grid and ground are left to the page, which knows whether it is light or dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 20, "t": 66, "b": 60},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
        hovermode="closest",
    )
    figure.update_xaxes(showgrid=True, zeroline=False, automargin=True, exponentformat="none")
    figure.update_yaxes(showgrid=True, zeroline=False, automargin=True, exponentformat="none")
    return figure
