"""Interactive figures of `gradients`: heat maps of distances, means by part of a ranking, the noise scale."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tune_cnn.reports.figures.study import FRONT, KNEE, styled
from tune_cnn.reports.gradients_report import Float64, MetricSeen, Noise

LIGHT_IS_NEAR = [(0.0, "#fff7d6"), (0.5, "#e58a4e"), (1.0, "#3d0f4d")]
SPREAD = (2.0, 98.0)  # % of the distances between which the colours go: one odd mini-batch must not take them all
MOST_COLUMNS = 200  # of a heat map: more are means of neighbours


def heat_figure(metrics: Sequence[MetricSeen]) -> go.Figure:
    """A row for each metric: epochs upwards, the ranking to the right, light is near."""
    figure = make_subplots(
        rows=len(metrics), cols=1, subplot_titles=[metric.name for metric in metrics],
        vertical_spacing=0.25 / max(len(metrics), 1),
    )  # fmt: skip
    low, high = spread(metrics)
    for row, metric in enumerate(metrics, start=1):
        rows, names = stacked(metric)
        figure.add_trace(
            go.Heatmap(
                z=rows.round(4).tolist(), y=names, x=[(k + 0.5) / rows.shape[1] for k in range(rows.shape[1])],
                zmin=low, zmax=high, colorscale=LIGHT_IS_NEAR, showscale=row == 1,
                colorbar={"title": {"text": "distance"}, "thickness": 12},
                hovertemplate="epoch %{y}<br>place %{x:.2f}<br>distance %{z:.3f}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(type="category", title_text="epoch", row=row, col=1)
    figure.update_xaxes(title_text="place in the ranking", row=len(metrics), col=1)
    return styled(figure, height=120 + sum(90 + 16 * len(stacked(metric)[1]) for metric in metrics))


def parts_figure(metric: MetricSeen) -> go.Figure:
    """The mean distance of each part of a metric's ranking, phase by phase."""
    figure = go.Figure()
    for phase in metric.phases:
        middles = [(part.begin + part.end) / 2 for part in phase.parts]
        values = [part.distance.value for part in phase.parts]
        figure.add_trace(
            go.Scatter(
                x=middles, y=values, mode="lines+markers", name=f"phase {phase.number}",
                error_y={
                    "type": "data", "symmetric": False,
                    "array": [(p.distance.high or p.distance.value) - p.distance.value for p in phase.parts],
                    "arrayminus": [p.distance.value - (p.distance.low or p.distance.value) for p in phase.parts],
                },
            )
        )  # fmt: skip
    figure.add_hline(y=1, line={"dash": "dot", "color": FRONT, "width": 1})
    figure.update_xaxes(title_text="place in the ranking", range=[0, 1])
    figure.update_yaxes(title_text="distance, the mean being 1")
    return styled(figure, height=320)


def noise_figure(noise: Sequence[Noise]) -> go.Figure:
    figure = go.Figure(
        go.Scatter(
            x=[one.epoch + 1 for one in noise], y=[one.images.value for one in noise], mode="lines+markers",
            line={"color": KNEE},
            error_y={
                "type": "data", "symmetric": False,
                "array": [(one.images.high or one.images.value) - one.images.value for one in noise],
                "arrayminus": [one.images.value - (one.images.low or one.images.value) for one in noise],
            },
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="before epoch")
    figure.update_yaxes(title_text="noise scale, images", type="log")
    return styled(figure, height=320)


def spread(metrics: Sequence[MetricSeen]) -> tuple[float, float]:
    """Between which distances the colours of all heat maps go."""
    values = np.concatenate([phase.heat.ravel() for metric in metrics for phase in metric.phases])
    low, high = np.percentile(values, SPREAD)
    return float(low), float(high if high > low else low + 1e-9)


def stacked(metric: MetricSeen) -> tuple[Float64, list[str]]:
    """(epochs, mini-batches) of all phases, and the epochs' names; of many mini-batches the means of neighbours."""
    rows = np.concatenate([phase.heat for phase in metric.phases])
    if rows.shape[1] > MOST_COLUMNS:
        rows = np.stack([part.mean(axis=1) for part in np.array_split(rows, MOST_COLUMNS, axis=1)], axis=1)
    names = [f"{epoch + 1} (phase {phase.number})" for phase in metric.phases for epoch in phase.measured]
    return rows, names
