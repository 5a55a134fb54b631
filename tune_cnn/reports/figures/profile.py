"""Interactive figures of a profile: utilisation and images a second over the batch, workers × batch, cells as bars."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tune_cnn.reports.figures.profile_series import (
    Line,
    Panel,
    Value,
    cell_name,
    images_per_s,
    of_best_pct,
    of_gpu,
    panels,
    utilisation_pct,
)
from tune_cnn.reports.figures.study import styled
from tune_cnn.reports.profile_report import ProfiledCell

COLORS = ("#2f6fed", "#e8590c", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c", "#5c940d", "#862e9c", "#a61e4d", "#495057")
CEILING = "#868e96"
_COLUMNS = 2


def utilisation_figure(cells: Sequence[ProfiledCell]) -> go.Figure:
    """Over the batch size, a line for each number of workers: solid where batches are made beside the step."""
    what = "GPU utilisation [%]" if of_gpu(cells) else "utilisation of its cores [%]"
    return _over_batches(cells, utilisation_pct, what, with_ceiling=False)


def speed_figure(cells: Sequence[ProfiledCell]) -> go.Figure:
    """Images a second over the batch size, with the ceiling: the same step on one resident batch."""
    return _over_batches(cells, images_per_s, "images/s", with_ceiling=True)


def _over_batches(cells: Sequence[ProfiledCell], value: Value, title: str, *, with_ceiling: bool) -> go.Figure:
    shown = panels(cells, value)
    figure = _grid(shown)
    colors = _colors(shown)
    named: set[str] = set()
    for at, panel in enumerate(shown):
        place = {"row": at // _columns(shown) + 1, "col": at % _columns(shown) + 1}
        for line in panel.lines:
            style = {"color": colors[line.name], "width": 2.2, "dash": "solid" if line.is_parallel else "dash"}
            figure.add_trace(_trace(line, style, named), **place)
        if with_ceiling and panel.ceiling is not None:
            figure.add_trace(_trace(panel.ceiling, {"color": CEILING, "width": 1.6, "dash": "dot"}, named), **place)
        ticks = list(panel.columns)
        figure.update_xaxes(
            title={"text": "batch size"}, type="log", tickvals=ticks, ticktext=[str(t) for t in ticks], **place
        )
        figure.update_yaxes(title={"text": title}, rangemode="tozero", **place)
    return styled(figure, height=_height(shown))


def _trace(line: Line, style: dict[str, object], named: set[str]) -> go.Scatter:
    first = line.name not in named
    named.add(line.name)
    return go.Scatter(
        x=list(line.batches), y=list(line.values), mode="lines+markers", name=escape(line.name), legendgroup=line.name,
        showlegend=first, line=style, marker={"size": 6},
        hovertemplate=f"{escape(line.name)}<br>batch %{{x}}: %{{y:,.4~g}}<extra></extra>",
    )  # fmt: skip


def heat_figure(cells: Sequence[ProfiledCell]) -> go.Figure:
    """Workers × batch: images a second, coloured by their share of the best at the same batch."""
    shown = panels(cells, images_per_s)
    figure = _grid(shown)
    for at, panel in enumerate(shown):
        figure.add_trace(
            go.Heatmap(
                x=[str(batch) for batch in panel.columns], y=[escape(name) for name in panel.names],
                z=of_best_pct(panel), zmin=0, zmax=100, colorscale="Viridis", showscale=at == 0,
                colorbar={"title": {"text": "% of the best"}, "len": 0.9},
                text=[["" if v is None else f"{v:,.0f}" for v in row] for row in panel.table],
                texttemplate="%{text}", hovertemplate="batch %{x}, %{y}<br>%{text} images/s, %{z:.0f} % of the best"
                "<extra></extra>",
            ),
            row=at // _columns(shown) + 1, col=at % _columns(shown) + 1,
        )  # fmt: skip
    figure.update_xaxes(title={"text": "batch size"}, type="category")
    return styled(figure, height=_height(shown, rows=max((len(panel.names) for panel in shown), default=1)))


def bars_figure(cells: Sequence[ProfiledCell]) -> go.Figure:
    """Where there is one batch size: a bar a cell, with its ceiling as a mark."""
    measured = sorted((cell for cell in cells if cell.metrics), key=lambda cell: cell.metrics["images_per_s"])
    names = [escape(cell_name(cell)) for cell in measured]
    figure = go.Figure(
        go.Bar(
            y=names, x=[cell.metrics["images_per_s"] for cell in measured], orientation="h", name="images/s",
            marker={"color": COLORS[0]}, text=[cell.called for cell in measured], textposition="auto",
            hovertemplate="%{y}: %{x:,.0f} images/s<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            y=names, x=[cell.metrics["ceiling_images_per_s"] for cell in measured], mode="markers", name="ceiling",
            marker={"symbol": "line-ns-open", "size": 14, "color": CEILING, "line": {"width": 2.5}},
            hovertemplate="ceiling %{x:,.0f} images/s<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title={"text": "images/s"}, rangemode="tozero")
    return styled(figure, height=130 + 26 * max(3, len(measured)))


def _columns(shown: Sequence[Panel]) -> int:
    return min(_COLUMNS, max(1, len(shown)))


def _grid(shown: Sequence[Panel]) -> go.Figure:
    rows = max(1, -(-len(shown) // _columns(shown)))
    titles = [escape(panel.title) for panel in shown]
    return make_subplots(
        rows=rows, cols=_columns(shown), subplot_titles=titles, horizontal_spacing=0.12, vertical_spacing=0.3 / rows
    )


def _height(shown: Sequence[Panel], rows: int = 8) -> int:
    return 60 + max(340, 150 + 32 * rows) * max(1, -(-len(shown) // _columns(shown)))


def _colors(shown: Sequence[Panel]) -> dict[str, str]:
    """By the name of a feed, the same in all panels."""
    names = dict.fromkeys(line.name for panel in shown for line in panel.lines)
    return {name: COLORS[at % len(COLORS)] for at, name in enumerate(names)}
