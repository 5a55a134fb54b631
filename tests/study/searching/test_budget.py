"""What a search spends: budgets of trials, hours and epochs, patience, and a truthful time left."""

import time
from pathlib import Path

import pytest

from study.made_up import make_study, spec_with
from study.searching.test_driver import Make, epoch, make, store, whole_trial  # noqa: F401  (fixtures)
from tune_cnn.records.store import Store
from tune_cnn.search.curve_model.observations import REFERENCE_AFTER
from tune_cnn.spec.parts import Budget
from tune_cnn.study.checks.preflight import check_unchanged
from tune_cnn.study.searching.budget import PATIENCE_TRIALS, Spending
from tune_cnn.study.searching.startup import why_nothing_left


class Clock:
    """Stands for the time that a search has run."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def at(self, seconds: float) -> None:
        self._spending._began_s = time.monotonic() - seconds


def test_patience_ends_a_search_whose_front_no_longer_grows() -> None:
    """By the growth over its last trials, in per cent an hour; not before there are enough of them."""
    spending = Spending(Budget(trials=100), 5.0, searched_s=0.0, epochs=0)
    clock = Clock(spending)
    for at in range(PATIENCE_TRIALS + 1):
        clock.at(60.0 * at)
        assert spending.why_over() is None
        spending.trial_ended(60.0, 1.0 + at / 100)
    assert spending.growth_pct_per_hour == pytest.approx(100 * 0.1 / 1.1 * 6, rel=1e-3)
    assert spending.why_over() is None  # 55 % an hour
    for at in range(PATIENCE_TRIALS + 1, 2 * PATIENCE_TRIALS + 2):
        clock.at(60.0 * at)
        spending.trial_ended(60.0, 1.1)
    assert spending.why_over() == (
        "ended by patience: by its last 10 trials the hypervolume grows by 0 % an hour, "
        "and less than 5 % is not worth it"
    )


def test_failures_do_not_try_patience(make: Make, store: Store) -> None:  # noqa: F811
    """A run of trials that fail or don't fit says nothing of what is still to be found."""
    conductor = make(budget={"trials": 100}, patience=5.0)
    for _ in range(REFERENCE_AFTER):
        whole_trial(conductor)
    for state in ("failed", "infeasible") * PATIENCE_TRIALS:
        given = conductor.next()
        assert given is not None
        conductor.end(given.trial, state, "made up")
    assert conductor.over is None
    for _ in range(PATIENCE_TRIALS):
        whole_trial(conductor)
    assert "ended by patience" in (conductor.over or "")


def test_without_patience_a_search_goes_on() -> None:
    """However flat; and trials before the reference point is fixed don't count."""
    spending = Spending(Budget(trials=100), None, searched_s=0.0, epochs=0)
    impatient = Spending(Budget(trials=100), 5.0, searched_s=0.0, epochs=0)
    for _ in range(3 * PATIENCE_TRIALS):
        spending.trial_ended(1.0, 1.0)
        impatient.trial_ended(1.0, None)
    assert spending.why_over() is None and impatient.why_over() is None


def test_epochs_and_hours_are_budgets_over_all_starts() -> None:
    """What earlier starts trained counts."""
    spending = Spending(Budget(epochs=10, hours=1), None, searched_s=3000.0, epochs=9)
    assert spending.why_over() is None
    spending.epochs += 1
    assert spending.why_over() == "the budget of epochs is spent"
    assert 0 < (spending.hours_left_s or 0) <= 600
    late = Spending(Budget(epochs=10, hours=1), None, searched_s=3600.0, epochs=0)
    assert late.why_over() == "the budget of hours is spent"


def test_the_time_left_is_that_of_the_trials_to_come_over_the_slots() -> None:
    """By what the last trials took; what runs is counted for its rest; never beyond the hours."""
    spending = Spending(Budget(trials=10, hours=1), None, searched_s=0.0, epochs=0)
    assert spending.left_s(to_start=10, running_s=[], slots=2, done=0) == pytest.approx(3600, abs=5)
    for _ in range(4):
        spending.trial_ended(100.0, None)
    assert spending.left_s(to_start=4, running_s=[40.0, 100.0], slots=2, done=4) == pytest.approx((400 + 60) / 2)
    assert spending.left_s(to_start=100, running_s=[], slots=1, done=4) == pytest.approx(3600, abs=5)
    assert spending.left_s(to_start=0, running_s=[], slots=2, done=10) == 0


def test_spent_epochs_end_the_search_and_its_running_trials(make: Make, store: Store) -> None:  # noqa: F811
    """The conductor hands out nothing more, the running trial keeps what it reached."""
    conductor = make(budget={"epochs": 3})
    whole_trial(conductor)
    given, other = conductor.next(), conductor.next()
    assert given is not None and other is not None
    assert not epoch(conductor, given.trial, 1, 0.5, 1.0)
    assert epoch(conductor, given.trial, 2, 0.6, 2.0)
    conductor.end(given.trial, "stopped", None)
    assert conductor.next() is None
    assert [(t.state, t.reason) for t in store.trials("made-up")][1] == ("stopped", "the budget of epochs is spent")


def test_the_conductor_stops_what_the_search_gives_up(make: Make, store: Store) -> None:  # noqa: F811
    """The stored reason is the search's; with `stopper: none` the same trial goes on."""
    for stopper, stops in (("front", True), ("none", False)):
        name = f"stops-{stopper}"
        space = {"epochs": 6, "learning_rate": {"low": 0.01, "high": 0.3}}
        conductor = make(study=name, budget={"trials": 12}, space=space, stopper=stopper)
        for _ in range(8):
            given = conductor.next()
            assert given is not None
            for at in range(1, 7):
                epoch(conductor, given.trial, at, 0.6 + at / 20, float(at))
            conductor.end(given.trial, "complete", None)
        given = conductor.next()
        assert given is not None
        assert epoch(conductor, given.trial, 1, 0.1, 9.0) == stops
        if stops:
            conductor.end(given.trial, "stopped", None)
            assert (store.trials(name)[-1].reason or "").startswith("stopped at epoch 1: at best it would add 0")


def test_patience_holds_over_starts(tmp_path: Path) -> None:
    """The same command again trains nothing; another price or a search that its budget ended goes on."""

    def why(home: Path, trials: int, **changes: object) -> str | None:
        """Of a search of three trials with patience and a budget of so many, when it is started again."""
        make_study(home, budget={"trials": trials}, patience=2.0)
        kept = Store(home)
        record = kept.study("made-up")
        assert record is not None
        again = spec_with(**{"budget": {"trials": trials}, "patience": 2.0, **changes})
        check_unchanged(record.spec, again)
        said = why_nothing_left(kept, record, again)
        kept.close()
        return said

    assert "patience has ended this search" in (why(tmp_path / "same", 9) or "")
    assert why(tmp_path / "price", 9, patience=1.0) is None
    assert why(tmp_path / "none", 9, patience=None) is None
    assert "the budget is spent" in (why(tmp_path / "spent", 3) or "")
    assert why(tmp_path / "grown", 3, budget={"trials": 9}) is None  # its budget ended it
