"""How the metrics of several ranks become one set."""

import math
from collections.abc import Mapping, Sequence

from tune_cnn.metrics import METRICS, Reduce


def reduce_metrics(of_ranks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One value per metric as the table says; names that aren't in the table, and SAME ones, take rank 0's.

    A metric that some rank lacks is absent: a sum or maximum over the others would be wrong.
    """
    return {
        name: _reduce(name, [float(metrics[name]) for metrics in of_ranks])
        for name in of_ranks[0]
        if all(name in metrics for metrics in of_ranks)
    }


def _reduce(name: str, values: list[float]) -> float:
    how = METRICS[name].reduce if name in METRICS else Reduce.SAME
    if how is Reduce.SUM:
        return math.fsum(values)
    if how is Reduce.MEAN:
        return math.fsum(values) / len(values)
    return max(values) if how is Reduce.MAX else values[0]
