"""A front carried to another type of accelerator: times, what was learned, which costs are probed, and chances."""

import math

import pytest

from tune_cnn.front.prediction import Prediction
from tune_cnn.front.transfer import Carried, Spread, carried_time, carried_value, chosen, front_chances, pooled
from tune_cnn.metrics import METRICS, EpochPoint

OBJECTIVES = [METRICS["accuracy"], METRICS["train_time_s"]]


def point(trial: int, epoch: int, accuracy: float, time_s: float) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=epoch, metrics={"accuracy": accuracy, "train_time_s": time_s})


def test_a_time_is_the_probes_mean_with_their_spread_and_an_allowance() -> None:
    """On the logarithm's scale: t(0.975, 2) · s · sqrt(1 + 1/3), then the allowance as a factor."""
    found = carried_time([1.0, math.e, math.e**2], allowance=0.1)
    reach = 4.302653 * math.sqrt(4 / 3)
    assert found.value == pytest.approx(math.e)
    assert found.low == pytest.approx(math.exp(1 - reach) / 1.1)
    assert found.high == pytest.approx(math.exp(1 + reach) * 1.1)


def test_one_probe_has_the_allowance_alone() -> None:
    found = carried_time([2.0], allowance=0.25)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.6, 2.5))


def test_what_was_learned_is_carried_with_its_spread() -> None:
    """A confirmed point's interval; around a searched value the others' spread, its own luck counted too; else none."""
    confirmed = Prediction(mean=0.9, std=0.01, low=0.86, high=0.94, runs=3)
    assert carried_value(0.95, confirmed, None) == Carried(value=0.9, low=0.86, high=0.94)
    reach = 4.302653 * 0.01 * math.sqrt(2)
    around = carried_value(0.9, None, Spread(std=0.01, degrees=2))
    assert (around.low, around.high) == pytest.approx((0.9 - reach, 0.9 + reach))
    assert carried_value(0.9, None, None) == Carried(value=0.9)


def test_spreads_are_pooled_by_their_degrees_of_freedom() -> None:
    """Variances 1 (one degree) and 4 (two) are (1 + 8) / 3; single runs say nothing."""
    assert pooled([[1.0], []]) is None
    found = pooled([[0.0, math.sqrt(2)], [0.0, 2.0, 4.0], [9.0]])
    assert found is not None
    assert (found.std, found.degrees) == (pytest.approx(math.sqrt(3)), 3)


def test_the_whole_front_is_probed_and_what_lies_behind_it_up_to_the_limit() -> None:
    """Of each cost all that it could bring to the front there: the order within it is the same on any card."""
    points = [
        point(0, 1, 0.9, 1.0),  # the front, of cost a
        point(1, 1, 0.8, 1.5),  # behind it, of b, with a worse point of its own
        point(1, 2, 0.7, 3.0),
        point(2, 1, 0.6, 2.0),  # behind both, of c
    ]
    costs = {0: "a", 1: "b", 2: "c"}
    keys = {most: [(p.trial, p.epoch) for p in chosen(points, OBJECTIVES, costs, most)] for most in (1, 2, 9)}
    assert keys == {1: [(0, 1)], 2: [(0, 1), (1, 1)], 9: [(0, 1), (1, 1), (2, 1)]}
    wide = [point(at, 1, 0.5 + at / 10, 1.0 + at) for at in range(4)]
    assert len(chosen(wide, OBJECTIVES, dict(enumerate("abcd")), 2)) == 4  # the front is never cut
    assert chosen([], OBJECTIVES, {}, 3) == []


def test_chances_follow_the_doubt() -> None:
    """Sure ones are on the front or not; two that may be the same share it, and both may stand beside a trade-off."""
    sure = [
        {"accuracy": Carried(value=0.9), "train_time_s": Carried(value=1.0)},
        {"accuracy": Carried(value=0.8), "train_time_s": Carried(value=2.0)},
        {"accuracy": Carried(value=0.95), "train_time_s": Carried(value=3.0)},
    ]
    assert front_chances(sure, OBJECTIVES) == [1.0, 0.0, 1.0]
    doubted = Carried(value=2.0, low=1.0, high=4.0)
    even = front_chances([{"accuracy": Carried(value=0.9), "train_time_s": doubted}] * 2, OBJECTIVES)
    assert even == pytest.approx([0.5, 0.5], abs=0.03)
    assert sum(even) == pytest.approx(1.0)
