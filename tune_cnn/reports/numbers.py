"""Numbers as people read them: few digits, units beside them, time in minutes and hours."""

import math

from tune_cnn.metrics import Direction, Metric, Scale

ABSENT = "–"
KNEE, POINT = "◆", "●"  # how a front's points are marked in text
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def number(value: float | None, metric: Metric | None = None) -> str:
    """A value in its metric's own unit, without the unit: for columns that name it in their heading."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return str(float(value))
    if metric is not None and metric.scale is Scale.ERROR:
        return f"{value:.4f}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.3g}"


def quantity(value: float | None, metric: Metric) -> str:
    """A value with its unit, rescaled where that reads better: for sentences."""
    if value is None or not math.isfinite(value):
        return number(value)
    if metric.unit == "s":
        return duration(value)
    if metric.unit == "MiB" and abs(value) >= 1024:
        return f"{value / 1024:.3g} GiB"
    if metric.unit == "J" and abs(value) >= 1000:
        return f"{value / 1000:.3g} kJ"
    return number(value, metric) if metric.unit in ("", "1") else f"{number(value, metric)} {metric.unit}"


def duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return str(float(seconds))
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < _MINUTE_S - 0.05:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S:02d} h"


def setting(value: object) -> str:
    """The value of a parameter, as YAML would have it, in few digits."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def titled(metric: Metric) -> str:
    """ "train_time_s [s]": a heading or an axis title; a bare number has no unit to show."""
    return metric.name if metric.unit in ("", "1") else f"{metric.name} [{metric.unit}]"


def better(metric: Metric) -> str:
    return "↑" if metric.direction is Direction.MAX else "↓"
