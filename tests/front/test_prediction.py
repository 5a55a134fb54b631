"""What a fresh run will give: against values worked out by hand, and held by simulation."""

import math

import numpy as np
import pytest

from tune_cnn.front.prediction import front_probabilities, predict, student_quantile
from tune_cnn.metrics import METRICS, Metric, user_metric

ACCURACY, TIME, MEMORY = METRICS["accuracy"], METRICS["train_time_s"], METRICS["peak_memory_mib"]


@pytest.mark.parametrize(
    ("probability", "degrees", "table"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 3, 3.1824), (0.95, 4, 2.1318), (0.995, 9, 3.2498),
     (0.975, 30, 2.0423), (0.5, 5, 0.0)],
)  # fmt: skip
def test_students_t_is_that_of_the_tables(probability: float, degrees: int, table: float) -> None:
    """Odd and even degrees of freedom go by two formulas."""
    assert student_quantile(probability, degrees) == pytest.approx(table, abs=6e-5)


def test_interval_worked_out_by_hand() -> None:
    """0.90, 0.91, 0.92: mean 0.91, s = 0.01, t(0.975; 2) = 4.3027, reach = 4.3027 · 0.01 · sqrt(4/3) = 0.04968."""
    of = predict([0.90, 0.91, 0.92], ACCURACY)
    assert (of.mean, of.std) == (pytest.approx(0.91), pytest.approx(0.01))
    assert (of.low, of.high) == (pytest.approx(0.91 - 0.049683, abs=1e-5), pytest.approx(0.91 + 0.049683, abs=1e-5))
    assert (of.holds(0.95), of.holds(0.97)) == (True, False)


def test_times_are_predicted_by_factors() -> None:
    """10 s and 40 s: on the log scale the middle is 20 s and the ends lie the same factor from it."""
    of = predict([10.0, 40.0], TIME)
    factor = math.exp(12.7062 * math.log(4) / math.sqrt(2) * math.sqrt(1.5))
    assert of.mean == 25.0
    assert of.low == pytest.approx(20 / factor, rel=1e-3)
    assert of.high == pytest.approx(20 * factor, rel=1e-3)
    assert predict([1e-30, 1e30], TIME).high == pytest.approx(np.finfo(float).max)  # a number, in JSON too


def test_interval_keeps_to_what_can_be() -> None:
    """No accuracy beyond 1, no time below 0, even where one was 0 and has no logarithm."""
    assert predict([0.99, 0.999], ACCURACY).high == 1.0
    assert predict([0.0, 5.0], TIME).low == 0.0
    assert predict([1.0, 2.0, 3.0]).low == pytest.approx(2 - 4.3027 * math.sqrt(4 / 3), abs=1e-3)
    assert predict([98.0, 99.0], METRICS["gpu_util_pct"]).high == 100.0
    assert predict([0.0, 1.0], METRICS["skipped_steps"]).low == 0.0


def test_interval_is_cut_nowhere_else() -> None:
    """CPU time of two cores passes 100 %; of a user's own per cent nobody knows whether they are shares."""
    assert predict([98.0, 99.0], METRICS["cpu_util_pct"]).high == pytest.approx(98.5 + 12.7062 * 1.5**0.5 * 0.5**0.5)
    own = user_metric("growth", unit="%", direction="max", call=None)
    fallen = predict([-5.0, -4.0, -3.0], own)
    assert fallen.holds(-4.0)
    assert fallen.low == pytest.approx(-4 - 4.3027 * math.sqrt(4 / 3), abs=1e-3)


def test_accuracies_that_agree_may_differ_by_less_than_an_image() -> None:
    """Of 100 images: t(0.975; 2) · sqrt(4/3) · 0.01 / sqrt(12) = 0.01434 each way, not none at all."""
    of = predict([0.9, 0.9, 0.9], ACCURACY, resolution=0.01)
    assert (of.std, of.low, of.high) == (
        0.0,
        pytest.approx(0.9 - 0.014342, abs=1e-5),
        pytest.approx(0.914342, abs=1e-5),
    )
    assert predict([0.8, 0.9], ACCURACY, resolution=0.01) == predict([0.8, 0.9], ACCURACY)  # a step is lost in it


def test_one_run_has_no_interval() -> None:
    """Its spread is unknown, and so is whether another run would fit to it."""
    of = predict([0.9], ACCURACY)
    assert (of.mean, of.std, of.low, of.high) == (0.9, None, None, None)
    assert of.holds(0.9) is None


def test_runs_that_agree_promise_their_value() -> None:
    """No spread, no width: what is the same in every run."""
    of = predict([7.0, 7.0, 7.0], MEMORY)
    assert (of.low, of.high) == (pytest.approx(7.0), pytest.approx(7.0))


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("metric", [ACCURACY, TIME])
def test_a_fresh_run_lies_inside_95_times_in_100(seeds: int, metric: Metric) -> None:
    """For any number of seeds, over 4,000 studies; an interval of the mean would hold far fewer."""
    rng, inside = np.random.default_rng(seeds), 0
    for _ in range(4000):
        runs = rng.normal(0.0, 1.0, seeds + 1)
        values = 0.5 + 0.001 * runs if metric is ACCURACY else 60 * np.exp(0.1 * runs)
        inside += bool(predict(values[:-1].tolist(), metric).holds(float(values[-1])))
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)  # 3.5 standard deviations


def test_probability_of_the_front_is_that_of_fresh_runs() -> None:
    """Far apart: certain. As good as each other in one objective alone: each wins half of the time."""
    rng = np.random.default_rng(0)
    better = {"accuracy": [0.95, 0.951], "train_time_s": [10.0, 10.1]}
    worse = {"accuracy": [0.30, 0.301], "train_time_s": [1e6, 1.1e6]}
    good, bad = front_probabilities([better, worse], [ACCURACY, TIME], rng=rng)
    assert good is not None
    assert bad is not None
    assert good > 0.9 > 0.1 > bad
    alike = {"accuracy": [0.8, 0.81, 0.82]}
    both = front_probabilities([alike, alike], [ACCURACY], rng=rng)
    assert both == [pytest.approx(0.5, abs=0.02)] * 2


def test_probability_is_unknown_while_a_spread_is() -> None:
    """A single run has none; beside the others it stands where it was: in the middle of theirs, half are beaten."""
    known, young = {"accuracy": [0.7, 0.9]}, {"accuracy": [0.8]}
    assert front_probabilities([known, young], [ACCURACY], rng=np.random.default_rng(0)) == [
        pytest.approx(0.5, abs=0.02),
        None,
    ]


def test_a_run_that_fails_is_on_no_front_and_in_nobodys_way() -> None:
    """The best one fails in three of five: it is on the front in two of five, and the other whenever it is not."""
    best, other = {"accuracy": [0.95, 0.95]}, {"accuracy": [0.5, 0.5]}
    chances = front_probabilities([best, other], [ACCURACY], rng=np.random.default_rng(0), failing=[0.6, 0.0])
    assert chances == [pytest.approx(0.4, abs=0.02), pytest.approx(0.6, abs=0.02)]
    both = front_probabilities([best, other], [ACCURACY], rng=np.random.default_rng(0), failing=[0.5, 0.5])
    assert both == [pytest.approx(0.5, abs=0.02), pytest.approx(0.25, abs=0.02)]
