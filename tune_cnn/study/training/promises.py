"""Whether a promise was kept: what a training achieved against the interval in which a fresh run was to lie."""

from collections.abc import Mapping

from tune_cnn.untyped import Plain


def kept(promise: Mapping[str, Plain], achieved: Mapping[str, float]) -> dict[str, dict[str, Plain]]:
    """{metric: {low, high, inside}}, for what was promised with an interval: of a confirmed point, over two seeds up.

    Five in a hundred fresh runs lie outside, as the interval is one of 95 %.
    """
    intervals: Mapping[str, Mapping[str, float | None]] = promise.get("intervals", {})
    return {
        name: {"low": low, "high": high, "inside": low <= achieved[name] <= high}
        for name, interval in intervals.items()
        if name in achieved and (low := interval.get("low")) is not None and (high := interval.get("high")) is not None
    }
