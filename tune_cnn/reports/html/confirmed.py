"""Confirmed points in the HTML report: a figure with their intervals and a table; the figure also goes to MLflow."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tune_cnn.front.choose import Preference, choose, knee
from tune_cnn.front.confirmed import Confirmed, overtaking, scale_of
from tune_cnn.front.dominance import front
from tune_cnn.metrics import METRICS, TEST, EpochPoint, Metric
from tune_cnn.reports.figures.study import FAINT, FRONT, KNEE, metric_axis, styled
from tune_cnn.reports.html.sections import Answer, section, table
from tune_cnn.reports.numbers import better, quantity, titled
from tune_cnn.reports.terminal.tables.confirmed import cell, seeds_of

_NOTE = (
    "Candidates from the front, trained again over several seeds, each alone on its hardware. In brackets, and as "
    "bars: where a fresh run will lie 95 times in 100. A row in grey is no longer on the front: another is better by "
    "its means, or its own miss a constraint. The test split is reported here; nothing was chosen by it."
)
_CONFIRMED = "These are confirmed: means over several seeds, each run alone on its hardware."


def confirmed_answer(
    points: Sequence[EpochPoint],
    found: Sequence[Confirmed],
    failed: Collection[tuple[int, int]],
    objectives: Sequence[Metric],
) -> Answer | None:
    """The point that an export without a preference gives, and the confirmed front; None where nothing was tried."""
    tried = {*failed, *(one.key for one in found)}
    left = [p for p in points if (p.trial, p.epoch) not in tried]
    means = [one.point for one in found if one.on_front]
    if not means:
        rest = front(left, objectives) if tried else []
        return Answer(best=knee(rest, objectives), points=rest) if rest else None
    best = choose(left, objectives, Preference(), confirmed=means)
    (chosen,) = (one for one in found if one.key == (best.trial, best.epoch))
    better = overtaking(chosen, left, objectives)
    ahead = (
        f" Trial {better.trial}, stopped after epoch {better.epoch}, was not trained again and looked better than the "
        "first of them in every objective. Confirming again trains it, if it is one of those that represent the front."
        if better
        else ""
    )
    return Answer(best=best, points=means, note=_CONFIRMED + ahead)


def confirmed_figure(
    found: Sequence[Confirmed], searched: Sequence[EpochPoint], objectives: Sequence[Metric]
) -> go.Figure:
    """The confirmed points with their intervals beside the searched front; a panel for each objective but the first.

    With one objective, the intervals stand over the points' names.
    """
    up, *others = objectives
    columns = max(1, len(others))
    figure = make_subplots(rows=1, cols=columns, horizontal_spacing=0.09)
    for at, across in enumerate(others or [None], start=1):
        drafts = [p for p in searched if across is None or across.name in p.metrics]
        if across is not None:
            figure.add_trace(_drafts(drafts, up, across).update(showlegend=at == 1), row=1, col=at)
        for on_front in (True, False):
            mine = [one for one in found if one.on_front is on_front]
            figure.add_trace(_bars(mine, up, across, on_front=on_front).update(showlegend=at == 1), row=1, col=at)
        figure.update_yaxes(**metric_axis(up, _range(found, drafts, up)), row=1, col=at)
        across_axis = {"type": "category"} if across is None else metric_axis(across, _range(found, drafts, across))
        figure.update_xaxes(**across_axis, row=1, col=at)
    return styled(figure, height=460)


def _drafts(points: Sequence[EpochPoint], up: Metric, across: Metric) -> go.Scatter:
    x, y = [p.metrics[across.name] for p in points], [p.metrics[up.name] for p in points]
    names = [f"trial {p.trial}, epoch {p.epoch}, as searched" for p in points]
    return go.Scatter(
        x=x, y=y, mode="markers", name="searched front", legendgroup="searched", text=names,
        marker={"size": 7, "color": FAINT}, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _bars(found: Sequence[Confirmed], up: Metric, across: Metric | None, *, on_front: bool) -> go.Scatter:
    x = [_name(one) for one in found] if across is None else [one.predictions[across.name].mean for one in found]
    name, color = ("confirmed", FRONT) if on_front else ("confirmed, off the front", KNEE)
    bars = {"error_y": _error(found, up, color)} | ({"error_x": _error(found, across, color)} if across else {})
    return go.Scatter(
        x=x, y=[one.predictions[up.name].mean for one in found], mode="markers", name=name, legendgroup=name,
        marker={"size": 10, "color": color}, text=[_hover(one) for one in found],
        hovertemplate="%{text}<extra></extra>", **bars,
    )  # fmt: skip


def _error(found: Sequence[Confirmed], metric: Metric, color: str) -> dict[str, object]:
    of = [one.predictions[metric.name] for one in found]
    above = [p.high - p.mean if p.high is not None else 0.0 for p in of]
    below = [p.mean - p.low if p.low is not None else 0.0 for p in of]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": color, "thickness": 1.2}


def _range(found: Sequence[Confirmed], drafts: Sequence[EpochPoint], metric: Metric) -> list[float]:
    values = [p.metrics[metric.name] for p in drafts if metric.name in p.metrics]
    return values + [v for one in found for v in _ends(one, metric)]


def _ends(one: Confirmed, metric: Metric) -> list[float]:
    of = one.predictions[metric.name]
    return [v for v in (of.mean, of.low, of.high) if v is not None]


def _name(one: Confirmed) -> str:
    return f"trial {one.trial}, epoch {one.epoch}"


def _hover(one: Confirmed) -> str:
    lines = [f"<b>{_name(one)}</b>, {seeds_of(one)} seeds"]
    for name, of in one.predictions.items():
        metric = scale_of(name, {})
        if metric is not None and of.std is not None and len(lines) < 9:
            lines.append(f"{escape(name)}: {quantity(of.mean, metric)} ± {quantity(of.std, metric)}")
    return "<br>".join(lines)


def confirmed_section(
    found: Sequence[Confirmed],
    failed: Mapping[tuple[int, int], Sequence[str]],
    objectives: Sequence[Metric],
    figure_html: str,
) -> str:
    """`figure_html`: `confirmed_figure` as the page embeds it; nothing at all where nothing was confirmed."""
    if not found and not failed:
        return ""
    names = [m.name for m in objectives]
    others = [n for n in ("total_time_s", *TEST) if n not in names and any(n in one.predictions for one in found)]
    shown = [*objectives, *(scale_of(n, {}) or METRICS["accuracy"] for n in others)]
    headings = ["trial", "epoch", "seeds", *(f"{titled(m)} {better(m)}" for m in objectives), *others, "on the front"]
    rows = [
        f"<tr{'' if one.on_front else ' class=soft'}>"
        + "".join(
            f'<td class="num">{escape(text)}</td>'
            for text in (
                str(one.trial), str(one.epoch), seeds_of(one),
                *(cell(one, name, m) for name, m in zip([*names, *others], shown, strict=True)), one.chance,
            )
        )
        + "</tr>\n"
        for one in found
    ]  # fmt: skip
    lost = "".join(
        f"<li>trial {trial} at epoch {epoch} is not confirmed, every run failed: {escape(reasons[0])}</li>"
        for (trial, epoch), reasons in failed.items()
    )
    content = (figure_html + table(headings, rows, numeric=len(headings))) if found else ""
    return section("Confirmed", _NOTE, content + (f"<ul>{lost}</ul>" if lost else ""))
