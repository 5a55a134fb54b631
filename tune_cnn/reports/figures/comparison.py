"""Figures of a comparison: curves with bands over epochs and over seconds, and differences with their intervals."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.colors import qualitative, unlabel_rgb
from plotly.subplots import make_subplots

from tune_cnn.front.comparison.compared import CURVES, Compared, ComparedCell
from tune_cnn.front.comparison.curves import Curve
from tune_cnn.metrics import METRICS, Metric
from tune_cnn.reports.figures.study import styled
from tune_cnn.reports.numbers import better, titled
from tune_cnn.untyped import Plain

# Plotly has the second ones as rgb(…), which matplotlib doesn't read.
COLORS = (*qualitative.D3, *("#{:02x}{:02x}{:02x}".format(*map(int, unlabel_rgb(c))) for c in qualitative.Set2))
MOST_CELLS = 16  # whose curves are drawn: more can't be told apart
BAND = 0.15  # opacity


def curves_figure(cells: Sequence[ComparedCell]) -> go.Figure:
    """Loss and accuracy, a row each: over epochs on the left, over seconds of training on the right."""
    names = [name for name in CURVES if any(name in cell.curves for cell in cells)]
    figure = make_subplots(
        rows=max(len(names), 1), cols=2, shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.09
    )
    for at, cell in enumerate(cells[:MOST_CELLS]):
        color = COLORS[at % len(COLORS)]
        for row, name in enumerate(names, start=1):
            curve = cell.curves.get(name)
            if curve is None:
                continue
            for column, x in ((1, curve.epochs), (2, curve.seconds)):
                for trace in _traces(cell.of.name, curve, x, color, shown=row == 1 and column == 1):
                    figure.add_trace(trace, row=row, col=column)
    for row, name in enumerate(names, start=1):
        figure.update_yaxes(range=heights([cell.curves[name] for cell in cells if name in cell.curves]), row=row)
        figure.update_yaxes(title={"text": escape(f"{titled(METRICS[name])} {better(METRICS[name])}")}, row=row, col=1)
    figure.update_xaxes(title={"text": "epoch"}, row=max(len(names), 1), col=1)
    figure.update_xaxes(title={"text": escape(titled(METRICS["train_time_s"]))}, row=max(len(names), 1), col=2)
    return styled(figure, height=260 * max(len(names), 1) + 60)


def _traces(
    name: str, curve: Curve, x: Sequence[float | None], color: str, *, shown: bool
) -> tuple[go.Scatter, go.Scatter]:
    """The band of the mean's interval, and the mean."""
    known = [
        (at, of.mean, of.mean if of.low is None else of.low, of.mean if of.high is None else of.high)
        for at, of in zip(x, curve.means, strict=True)
        if at is not None
    ]
    xs, means = [one[0] for one in known], [one[1] for one in known]
    lows, highs = [one[2] for one in known], [one[3] for one in known]
    band = go.Scatter(
        x=[*xs, *xs[::-1]], y=[*highs, *lows[::-1]], fill="toself", fillcolor=color, opacity=BAND, line={"width": 0},
        mode="lines", legendgroup=name, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(
        x=xs, y=means, mode="lines+markers", name=escape(name), legendgroup=name, showlegend=shown,
        line={"color": color, "width": 1.8}, marker={"size": 4},
        hovertemplate=f"{escape(name)}<br>%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>",
    )  # fmt: skip
    return band, line


def heights(curves: Sequence[Curve]) -> tuple[float, float]:
    """What an axis shows: all means, and of the bands as much again. A band over two seeds would leave nothing else."""
    known = [of for curve in curves for of in curve.means]
    return _limits([of.mean for of in known], [end for of in known for end in (of.low, of.high) if end is not None])


def _limits(values: Sequence[float], ends: Sequence[float], *, share: float = 0.5) -> tuple[float, float]:
    """From the least to the most of the values, and towards the ends as far again as that share of it."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) / 10 or 1.0
    return max(low - room, min([low, *ends])), min(high + room, max([high, *ends]))


def differences_figure(found: Compared, cells: Sequence[ComparedCell]) -> go.Figure:
    """Each cell against the baseline, a panel an objective; a line stands where there is no difference."""
    others = [cell for cell in cells if not cell.is_baseline]
    figure = make_subplots(rows=1, cols=len(found.objectives), shared_yaxes=True, horizontal_spacing=0.04)
    for column, metric in enumerate(found.objectives, start=1):
        rows = [(cell, of) for cell in others if (of := cell.differences.get(metric.name)) is not None]
        by_factor = any(of.by_factor for _, of in rows)
        ends = [end for _, of in rows for end in (of.low, of.high) if end is not None]
        low, high = _limits([of.value for _, of in rows] + [1.0 if by_factor else 0.0], ends, share=3.0)
        figure.update_xaxes(range=(low - (high - low) / 20, high + (high - low) / 20), row=1, col=column)
        figure.add_trace(
            go.Scatter(
                x=[of.value for _, of in rows],
                y=[escape(cell.of.name) for cell, _ in rows],
                mode="markers",
                showlegend=False,
                marker={"size": 9, "color": [COLORS[0] if of.is_sure else "#738096" for _, of in rows]},
                error_x=_bars([(of.value, of.low, of.high) for _, of in rows]),
                hovertemplate="%{y}<br>%{x:.4~g}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.add_vline(x=1.0 if by_factor else 0.0, line={"width": 1, "dash": "dot"}, row=1, col=column)
        what = "times the baseline's" if by_factor else "over the baseline's"
        figure.update_xaxes(
            title={"text": escape(f"{_name(metric, by_factor)} {better(metric)}, {what}")}, row=1, col=column
        )
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=110 + 34 * max(len(others), 2))


def _name(metric: Metric, by_factor: bool) -> str:
    return metric.name if by_factor else titled(metric)


def _bars(rows: Sequence[tuple[float, float | None, float | None]]) -> Mapping[str, Plain]:
    return {
        "type": "data", "symmetric": False, "thickness": 1.5,
        "array": [0.0 if high is None else high - value for value, _, high in rows],
        "arrayminus": [0.0 if low is None else value - low for value, low, _ in rows],
    }  # fmt: skip
