"""Intervals, paired differences, Holm's correction, what few seeds can show, effects: against other computations."""

import math

import numpy as np
import pytest
from scipy import stats

from tune_cnn.front.comparison.effects import effects
from tune_cnn.front.comparison.intervals import mean_of, student
from tune_cnn.front.comparison.paired import Difference, difference, holm, smallest_shown
from tune_cnn.metrics import METRICS

ACCURACY, TIME = METRICS["accuracy"], METRICS["train_time_s"]


def test_an_interval_of_the_mean_is_scipys():
    """Student's t with n - 1 degrees of freedom."""
    values = [0.91, 0.93, 0.90, 0.95, 0.92]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    found = student(values)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert student([0.9]).low is None


def test_times_have_intervals_by_factors_and_shares_stay_below_one():
    """A time's mean is geometric, so no interval reaches below zero; nobody classifies more than all."""
    found = mean_of([1.0, 100.0], TIME)
    assert found.mean == pytest.approx(10.0)
    assert found.low is not None and found.high is not None and 0 < found.low < 10 < found.high
    assert mean_of([0.97, 0.999, 0.98], ACCURACY).high == 1.0


def test_rounding_keeps_equal_accuracies_from_being_certain():
    """Three seeds that agree to an image may still differ by less."""
    assert mean_of([0.9, 0.9, 0.9], ACCURACY).reach == 0
    assert (mean_of([0.9, 0.9, 0.9], ACCURACY, resolution=0.01).reach or 0) > 0.005


def test_a_paired_difference_is_scipys_t_test():
    """Of values with the same seed."""
    some, base = [0.93, 0.95, 0.94, 0.96], [0.91, 0.94, 0.91, 0.95]
    found = difference(some, base, ACCURACY)
    expected = stats.ttest_rel(some, base)
    assert found.value == pytest.approx(np.mean(some) - np.mean(base))
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_pairs_see_what_the_seeds_have_in_common():
    """A gain of 0.01 under seeds that differ by 0.1 is sure in pairs; apart it would drown."""
    base = [0.5, 0.6, 0.7, 0.8]
    some = [0.511, 0.609, 0.71, 0.811]
    assert (difference(some, base, ACCURACY).p or 1) < 0.001
    assert stats.ttest_ind(some, base).pvalue > 0.5


def test_a_times_difference_is_a_factor():
    """Half the time is half of it, whatever the seed's own."""
    found = difference([1.0, 2.1, 4.0], [2.0, 4.0, 8.2], TIME)
    assert found.by_factor
    assert found.value == pytest.approx(0.5, rel=0.05)
    assert found.high is not None and found.high < 1


def test_one_pair_shows_no_spread():
    """And so no p."""
    found = difference([0.9], [0.8], ACCURACY)
    assert (found.p, found.low, found.detectable) == (None, None, None)
    assert found.value == pytest.approx(0.1)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_smallest_difference_is_seen_eight_times_in_ten(n):
    """By simulation: pairs with that true difference pass the t-test in 80 % of the draws."""
    size = smallest_shown(1.0, n)
    drawn = np.random.default_rng(1).normal(size, 1.0, (20_000, n))
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(n))
    seen = (np.abs(t) > stats.t.ppf(0.975, n - 1)).mean()
    assert seen == pytest.approx(0.8, abs=0.015)


def test_more_seeds_show_smaller_differences_and_more_cells_larger_ones():
    """The square root of n, and Holm's first step."""
    assert smallest_shown(1.0, 3) > 1.5 * smallest_shown(1.0, 5)
    assert smallest_shown(1.0, 3, compared=4) > 1.5 * smallest_shown(1.0, 3)


def _with_p(p: float | None) -> Difference:
    return Difference(by_factor=False, value=0.1, low=0, high=1, p=p, detectable=None, n=3)


def test_holms_correction_by_hand():
    """0.01, 0.04, 0.03, 0.005 of Holm's own kind: times 4, 3, 2, 1 from the smallest on, never falling."""
    found = [one.p_holm for one in holm([_with_p(p) for p in (0.01, 0.04, 0.03, 0.005)])]
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [one.p_holm for one in holm([_with_p(None), _with_p(0.9)])] == [None, 0.9]


def test_effects_of_an_additive_grid_are_its_own_and_nothing_interacts():
    """y = a + b over a whole grid of two factors, in each of three blocks."""
    values = {
        (a, b): {block: 0.1 * a + 0.03 * b + 0.01 * block for block in range(3)} for a in (0, 1, 2) for b in (0, 1)
    }
    found = {(e.factors, e.levels): e for e in effects(["a", "b"], values, ACCURACY)}
    assert found[("a",), (2,)].interval.mean == pytest.approx(0.2)
    assert found[("b",), (1,)].interval.mean == pytest.approx(0.03)
    assert found[("a", "b"), (1, 1)].interval.mean == pytest.approx(0)
    assert not any(e.is_sure for e in found.values() if len(e.factors) == 2 and abs(e.interval.mean) > 1e-12)


def test_a_pair_that_works_only_together_is_an_interaction():
    """Whitening helps with the large batch alone."""
    values = {
        (a, b): {block: (0.2 if a and b else 0.0) + 0.001 * block for block in range(4)} for a in (0, 1) for b in (0, 1)
    }
    found = {e.factors: e for e in effects(["a", "b"], values, ACCURACY)}
    assert found["a", "b"].interval.mean == pytest.approx(0.2)
    assert found[("a",)].interval.mean == pytest.approx(0.1)
    assert found["a", "b"].is_sure


def test_effects_of_times_are_factors():
    """Twice the workers, half the time, whatever the batch."""
    values = {(w, b): {block: b / w * (1 + 0.01 * block) for block in range(3)} for w in (1, 2) for b in (4.0, 9.0)}
    found = {e.factors: e for e in effects(["workers", "batch"], values, TIME)}
    assert found[("workers",)].interval.mean == pytest.approx(0.5)
    assert found["workers", "batch"].interval.mean == pytest.approx(1.0)


def test_a_hole_in_the_grid_leaves_out_what_it_would_bend():
    """A cell without a result: contrasts are over the values that are whole; none is, so nothing is told."""
    values = {(0, 0): {0: 1.0, 1: 1.1}, (1, 0): {0: 2.0, 1: 2.1}, (0, 1): {0: 5.0, 1: 5.1}}
    found = {e.factors: e for e in effects(["a", "b"], values, ACCURACY)}
    assert found[("a",)].interval.mean == pytest.approx(1.0)
    assert ("a", "b") not in found
    assert effects(["a"], {}, ACCURACY) == []
