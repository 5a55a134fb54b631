"""What a search spends: budgets of trials, hours and epochs, the smallest growth, and a truthful time left."""

import math
import time
from pathlib import Path
from string import ascii_lowercase

import pytest

from study.made_up import make_study, spec_with
from study.searching.drivers import Make, epoch, whole_trial
from tune_cnn.records.store import Store
from tune_cnn.search.curve_model.observations import REFERENCE_AFTER
from tune_cnn.spec.parts import Budget
from tune_cnn.states import TrialState
from tune_cnn.study.checks.preflight import check_unchanged
from tune_cnn.study.searching.budget import GROWTH_TRIALS, BudgetTracker, PhaseEnd
from tune_cnn.study.searching.startup import why_nothing_left


class Clock:
    """Stands for the time that a search has run."""

    def __init__(self, budget: BudgetTracker) -> None:
        self._budget = budget

    def at(self, seconds: float) -> None:
        self._budget._began_s = time.monotonic() - seconds


def test_a_search_ends_whose_front_grows_too_slowly() -> None:
    """By the growth over its last trials, in per cent an hour; not before there are enough of them."""
    budget = BudgetTracker(Budget(trials=100), 5.0, searched_s=0.0, epochs=0)
    clock = Clock(budget)
    for at in range(GROWTH_TRIALS + 1):
        clock.at(60.0 * at)
        assert budget.why_over() is None
        budget.trial_ended(60.0, 1.0 + at / 100)
    assert budget.growth_pct_per_hour == pytest.approx(100 * 0.1 / 1.1 * 6, rel=1e-3)
    assert budget.why_over() is None  # 55 % an hour
    for at in range(GROWTH_TRIALS + 1, 2 * GROWTH_TRIALS + 2):
        clock.at(60.0 * at)
        budget.trial_ended(60.0, 1.1)
    assert budget.why_over() == (
        "its last 10 trials let the hypervolume grow by 0 % an hour, less than min_growth_pct_per_hour: 5"
    )


def test_failures_say_nothing_of_growth(make: Make, store: Store) -> None:
    """A run of trials that fail or don't fit says nothing of what is still to be found. Each fails of its own reason:
    alike ones would pause the search."""
    driver = make(budget={"trials": 100}, min_growth_pct_per_hour=5.0)
    for _ in range(REFERENCE_AFTER):
        whole_trial(driver)
    for reason in ascii_lowercase[:GROWTH_TRIALS]:
        for state in (TrialState.FAILED, TrialState.INFEASIBLE):
            given = driver.next()
            assert given is not None
            driver.end(given.trial, state, f"made up {reason}")
    assert driver.over is None
    for _ in range(GROWTH_TRIALS):
        whole_trial(driver)
    assert "min_growth_pct_per_hour" in (driver.over or "")


def test_without_a_smallest_growth_a_search_goes_on() -> None:
    """However flat; and trials before the reference point is fixed don't count."""
    budget = BudgetTracker(Budget(trials=100), None, searched_s=0.0, epochs=0)
    impatient = BudgetTracker(Budget(trials=100), 5.0, searched_s=0.0, epochs=0)
    for _ in range(3 * GROWTH_TRIALS):
        budget.trial_ended(1.0, 1.0)
        impatient.trial_ended(1.0, None)
    assert budget.why_over() is None and impatient.why_over() is None


def test_epochs_and_hours_are_budgets_over_all_starts() -> None:
    """What earlier starts trained counts."""
    budget = BudgetTracker(Budget(epochs=10, hours=1), None, searched_s=3000.0, epochs=9)
    assert budget.why_over() is None
    budget.epochs += 1
    assert budget.why_over() == "the budget of epochs is spent"
    assert 0 < (budget.hours_left_s or 0) <= 600
    late = BudgetTracker(Budget(epochs=10, hours=1), None, searched_s=3600.0, epochs=0)
    assert late.why_over() == "the budget of hours is spent"


def test_the_time_left_is_that_of_the_trials_to_come_over_the_slots() -> None:
    """By what the last trials took; what runs is counted for its rest; never beyond the hours."""
    budget = BudgetTracker(Budget(trials=10, hours=1), None, searched_s=0.0, epochs=0)
    assert budget.left_s(to_start=10, running_s=[], slots=2, done=0) == pytest.approx(3600, abs=5)
    for _ in range(4):
        budget.trial_ended(100.0, None)
    assert budget.left_s(to_start=4, running_s=[40.0, 100.0], slots=2, done=4) == pytest.approx((400 + 60) / 2)
    assert budget.left_s(to_start=100, running_s=[], slots=1, done=4) == pytest.approx(3600, abs=5)
    assert budget.left_s(to_start=0, running_s=[], slots=2, done=10) == 0


def test_spent_epochs_end_the_search_and_its_running_trials(make: Make, store: Store) -> None:
    """The driver hands out nothing more, the running trial keeps what it reached."""
    driver = make(budget={"epochs": 3})
    whole_trial(driver)
    given, other = driver.next(), driver.next()
    assert given is not None and other is not None
    assert not epoch(driver, given.trial, 1, 0.5, 1.0)
    assert epoch(driver, given.trial, 2, 0.6, 2.0)
    driver.end(given.trial, TrialState.STOPPED, None)
    assert driver.next() is None
    assert [(t.state, t.reason) for t in store.trials("made-up")][1] == ("stopped", "the budget of epochs is spent")


def test_the_driver_stops_what_the_search_gives_up(make: Make, store: Store) -> None:
    """The stored reason is the search's; with `stopper: none` the same trial goes on."""
    for stopper, stops in (("no_hypervolume_gain", True), ("none", False)):
        name = f"stops-{stopper}"
        space = {"epochs": 6, "learning_rate": {"low": 0.01, "high": 0.3}}
        driver = make(study=name, budget={"trials": 12}, space=space, stopper=stopper)
        for _ in range(8):
            given = driver.next()
            assert given is not None
            for at in range(1, 7):
                epoch(driver, given.trial, at, 0.6 + at / 20, float(at))
            driver.end(given.trial, TrialState.COMPLETE, None)
        given = driver.next()
        assert given is not None
        assert epoch(driver, given.trial, 1, 0.1, 9.0) == stops
        if stops:
            driver.end(given.trial, TrialState.STOPPED, None)
            assert (store.trials(name)[-1].reason or "").startswith("stopped at epoch 1: at best it would add 0")


def test_a_search_that_grew_too_slowly_has_ended_for_later_starts_too(tmp_path: Path) -> None:
    """The same command again trains nothing; another price or a search that its budget ended goes on."""

    def why(home: Path, trials: int, **changes: object) -> str | None:
        """Of a search of three trials with a smallest growth and a budget of so many, when it is started again."""
        make_study(home, budget={"trials": trials}, min_growth_pct_per_hour=2.0)
        kept = Store(home)
        record = kept.study("made-up")
        assert record is not None
        again = spec_with(**{"budget": {"trials": trials}, "min_growth_pct_per_hour": 2.0, **changes})
        check_unchanged(record.spec, again)
        said = why_nothing_left(kept, record, again)
        kept.close()
        return said

    assert "min_growth_pct_per_hour has ended this search" in (why(tmp_path / "same", 9) or "")
    assert why(tmp_path / "price", 9, min_growth_pct_per_hour=1.0) is None
    assert why(tmp_path / "none", 9, min_growth_pct_per_hour=None) is None
    assert "the budget is spent" in (why(tmp_path / "spent", 3) or "")
    assert why(tmp_path / "grown", 3, budget={"trials": 9}) is None  # its budget ended it


def test_phases_share_trials_and_hours_evenly() -> None:
    """Each ends at its part of whichever comes first; the last one has what is left."""
    budget = Budget(trials=10, hours=3)
    ends = [PhaseEnd.of(budget, number, 3) for number in (1, 2, 3)]
    assert [end.trials for end in ends] == [3, 6, math.inf]
    assert [end.searched_s for end in ends] == [3600, 7200, math.inf]
    assert ends[0].last_number(1, searched_s=3599.0) == 3
    assert ends[0].last_number(1, searched_s=3600.0) == 1  # it hands out no more
    assert PhaseEnd.of(Budget(epochs=5), 1, 2).last_number(7, searched_s=1e9) == math.inf
    assert PhaseEnd.of(budget, 1, 1).last_number(7, searched_s=1e9) == math.inf


def test_a_phase_whose_hours_are_spent_hands_out_no_more(make: Make) -> None:
    """The trials that run go on; the next phase hands out others."""
    driver = make(budget={"hours": 2})
    first = driver.next()
    assert first is not None
    driver.begin_phase(0.0, 2, end=PhaseEnd(searched_s=0.0))
    assert driver.next() is None and driver.trials_to_run == 0
    assert not epoch(driver, first.trial, 1, 0.9, 1.0)
    driver.begin_phase(0.0, 2, end=PhaseEnd())
    assert driver.next() is not None
