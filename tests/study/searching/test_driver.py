"""The driver with a real store and a real search, and no Ray: what a search hands out, keeps and raises."""

from pathlib import Path

import pytest

from study.made_up import spec_with
from study.searching.drivers import Make, epoch, whole_trial
from tune_cnn.errors import StoreError, TuneCnnError
from tune_cnn.records.store import Store
from tune_cnn.search.curve_model.observations import REFERENCE_AFTER
from tune_cnn.spec.resources import Phase
from tune_cnn.states import TrialState
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.hooks import raise_failure
from tune_cnn.study.session.failures import nothing_found


def test_hands_out_the_budget_of_trials_and_no_more(make: Make, store: Store) -> None:
    """Three trials, numbered from 0 with seeds of their own; each is in the store before it runs."""
    driver = make()
    given = [driver.next() for _ in range(3)]
    assert [g.trial for g in given if g is not None] == [0, 1, 2]
    assert len({g.seed for g in given if g is not None}) == 3
    assert driver.next() is None
    assert [(t.number, t.state) for t in store.trials("made-up")] == [(0, "running"), (1, "running"), (2, "running")]


def test_resume_takes_up_unfinished_trials_first(make: Make, store: Store) -> None:
    """Ended trials count, an unfinished one goes on with its parameters and seed, its stored epoch is not doubled."""
    first = make()
    whole_trial(first)
    unfinished = first.next()
    assert unfinished is not None
    epoch(first, unfinished.trial, 1, 0.5, 1.0)
    first.end(unfinished.trial, TrialState.INTERRUPTED, None)
    second = make()
    assert second.counts["complete"] == 1
    taken = second.next()
    assert taken == unfinished
    epoch(second, 1, 1, 0.99, 9.0)  # trained again after the checkpoint: the first counts
    epoch(second, 1, 2, 0.6, 2.0)
    second.end(1, TrialState.COMPLETE, None)
    assert [p.metrics["accuracy"] for p in store.points("made-up") if p.trial == 1] == [0.5, 0.6]
    assert whole_trial(second) == 2
    assert second.next() is None


def test_a_trial_has_the_power_limit_of_its_phase_and_goes_on_there(make: Make, store: Store) -> None:
    """An unfinished one waits for the phase that it was begun in."""
    limits = {"gpus_per_rank": 1, "power_limit_w": [200, 250]}
    first = make(resources=limits)
    first.begin_phase(1.0, 2, on=Phase(power_limit_w=250.0), end=PhaseEnd())
    unfinished = first.next()
    assert unfinished is not None
    first.end(unfinished.trial, TrialState.INTERRUPTED, None)
    assert store.trials("made-up")[0].extra["power_limit_w"] == 250.0
    second = make(resources=limits)
    second.begin_phase(1.0, 2, on=Phase(power_limit_w=200.0), end=PhaseEnd(trials=1))
    assert second.next() is None
    second.begin_phase(1.0, 2, on=Phase(power_limit_w=250.0), end=PhaseEnd())
    assert second.next() == unfinished


def test_a_grown_budget_goes_on_where_it_ended(make: Make) -> None:
    """Finished trials are not repeated when the budget grows."""
    first = make()
    for _ in range(3):
        whole_trial(first)
    assert first.next() is None
    second = make(budget={"trials": 4})
    assert second.trials_to_run == 1
    assert whole_trial(second) == 3
    assert second.next() is None


def test_spent_hours_end_the_search_and_its_running_trials(make: Make, store: Store) -> None:
    """Hours count over all starts; the running trial stops with the points it reached and says why."""
    first = make(budget={"hours": 1})
    given = first.next()
    assert given is not None
    store.update_study("made-up", searched_s=3600.0)
    second = make(budget={"hours": 1})
    assert second.next() is None
    late = make(budget={"hours": 1.5})
    assert late.next() == given
    late._budget._began_s -= 1800.0  # half an hour later
    assert epoch(late, 0, 1, 0.7, 1.0)
    late.end(0, TrialState.STOPPED, None)
    (trial,) = store.trials("made-up")
    assert (trial.state, trial.reason) == ("stopped", "the budget of hours is spent")


def test_interrupted_trials_stay_unfinished(make: Make, store: Store) -> None:
    """After Ctrl-C running trials stop at their epoch, and are running in the store for the next start."""
    forgotten: list[int] = []
    driver = make(forgotten=forgotten)
    given = driver.next()
    assert given is not None
    driver.interrupted = True
    assert epoch(driver, given.trial, 1, 0.5, 1.0)
    driver.end(given.trial, TrialState.STOPPED, None)
    assert driver.tick()
    assert driver.next() is None
    assert [t.state for t in store.trials("made-up")] == ["running"]
    assert forgotten == []  # its checkpoint is what the next start goes on from


def test_a_store_error_in_a_hook_stops_the_search_and_is_raised_afterwards(
    make: Make, store: Store, tmp_path: Path
) -> None:
    """No hook raises into Tune's loop; the error comes when the loop has ended, and what was stored is kept."""
    driver = make()
    whole_trial(driver)
    given = driver.next()
    assert given is not None
    store.close()
    for file in tmp_path.glob("studies.db*"):
        file.rename(tmp_path / f"away-{file.name}")
    (tmp_path / "studies.db").mkdir()
    assert epoch(driver, given.trial, 1, 0.5, 1.0)  # stop
    driver.end(given.trial, TrialState.COMPLETE, None)
    assert driver.next() is None
    assert driver.tick()
    with pytest.raises(StoreError, match=r"studies\.db"):
        raise_failure(driver.failure)
    kept = tmp_path / "kept"
    kept.mkdir()
    for file in tmp_path.glob("away-*"):
        file.rename(kept / file.name.removeprefix("away-"))
    again = Store(kept)
    assert [t.state for t in again.trials("made-up")] == ["complete", "running"]
    again.close()


def test_an_internal_error_is_told_as_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no TuneCnnError becomes one, with its cause."""
    driver = make()

    def broken(number: int, within_s: float | None) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(driver.search, "ask", broken)
    assert driver.next() is None
    with pytest.raises(TuneCnnError, match="ZeroDivisionError") as raised:
        raise_failure(driver.failure)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_reference_point_is_fixed_once(make: Make, store: Store) -> None:
    """When enough trials have ended it is fixed and stored; neither later trials nor a resume move it."""
    budget = {"trials": REFERENCE_AFTER + 2}
    first = make(budget=budget)
    for number in range(REFERENCE_AFTER):
        study = store.study("made-up")
        assert study is not None
        assert study.reference is None
        whole_trial(first, 0.5 + number / 100, 1.0 + number)
    study = store.study("made-up")
    assert study is not None
    fixed = study.reference
    assert fixed is not None
    whole_trial(first, 0.1, 1000.0)
    second = make(budget=budget)
    whole_trial(second, 0.99, 2000.0)
    second.finish()
    study = store.study("made-up")
    assert study is not None
    assert study.reference == fixed


def test_a_short_search_fixes_its_reference_at_its_end(make: Make, store: Store) -> None:
    """`finish` fixes it, so that the hypervolume of a small study stays what it was."""
    driver = make()
    whole_trial(driver)
    driver.finish()
    study = store.study("made-up")
    assert study is not None
    assert study.reference is not None


def test_an_interrupted_search_leaves_its_reference_open(make: Make, store: Store) -> None:
    """First epochs don't say how long trials take: fixed by them, the reference would stop all that comes later."""
    first = make()
    given = first.next()
    assert given is not None
    epoch(first, given.trial, 1, 0.5, 2.0)
    first.interrupted = True
    first.end(given.trial, TrialState.STOPPED, None)
    first.finish()
    study = store.study("made-up")
    assert study is not None
    assert (study.reference, first.ended) == (None, False)
    second = make()
    assert second.next() == given
    epoch(second, given.trial, 2, 0.9, 4.0)
    second.end(given.trial, TrialState.COMPLETE, None)
    second.finish()
    study = store.study("made-up")
    assert study is not None and study.reference is not None
    assert (study.reference["train_time_s"], second.ended) == (40.0, True)


def test_nothing_is_handed_out_where_the_search_is_over(make: Make) -> None:
    """Slow growth ended an earlier start, which this one can't know by itself."""
    driver = make(over="min_growth_pct_per_hour has ended this search")
    assert driver.next() is None
    assert driver.progress().message == "min_growth_pct_per_hour has ended this search"


def test_constraints_filter_the_front(make: Make, store: Store) -> None:
    """A point beyond a constraint is stored and counted, but not on the front."""
    driver = make(constraints={"peak_memory_mib": {"max": 100}})
    given = driver.next()
    assert given is not None
    epoch(driver, 0, 1, 0.5, 1.0, peak_memory_mib=50)
    epoch(driver, 0, 2, 0.9, 2.0, peak_memory_mib=500)
    assert [p.epoch for p in driver.front] == [1]
    assert len(store.points("made-up")) == 2


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.STOPPED, TrialState.INTERRUPTED])
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize(
    ("metrics", "lacking"),
    [
        ({"accuracy": float("nan"), "train_time_s": 9.0}, "accuracy is nan"),
        ({"accuracy": 0.9, "train_time_s": float("inf")}, "train_time_s is inf"),
        ({"train_time_s": 9.0}, "accuracy is missing"),
    ],
)
def test_an_epoch_without_an_objective_fails_its_trial(
    make: Make, store: Store, metrics: dict[str, float], lacking: str, before: int, state: TrialState
) -> None:
    """The first one or a later one, however training ended: epochs before it are kept, and the reason names it."""
    forgotten: list[int] = []
    driver = make(forgotten=forgotten)
    assert driver.next() is not None
    for number in range(1, before + 1):
        assert not epoch(driver, 0, number, 0.5 + number / 10, float(number))
    assert driver.point(0, before + 1, metrics, None)
    driver.end(0, state, None)
    (trial,) = store.trials("made-up")
    expected = f"epoch {before + 1}: {lacking}; an epoch needs a finite number for every objective"
    assert (trial.state, trial.reason) == ("failed", expected)
    assert [p.epoch for p in store.points("made-up")] == list(range(1, before + 1))
    assert (driver.counts["failed"], forgotten) == (1, [0])
    assert make().trials_to_run == 2  # the next start doesn't take it up


def test_a_trial_that_gave_no_epoch_has_failed(make: Make, store: Store) -> None:
    """Its training ended by itself before the first one."""
    driver = make()
    assert driver.next() is not None
    driver.end(0, TrialState.COMPLETE, None)
    (trial,) = store.trials("made-up")
    assert (trial.state, trial.reason) == ("failed", "ended without an epoch")


def test_all_failed_trials_are_counted_by_reason(make: Make, store: Store) -> None:
    """The search that gave nothing says how many trials failed of what, the most frequent first."""
    driver = make()
    for reason in ("diverged", "out of memory", "diverged"):
        given = driver.next()
        assert given is not None
        driver.end(given.trial, TrialState.FAILED, reason)
    assert driver.counts["failed"] == 3
    assert not driver.front
    told = nothing_found(store, spec_with()).splitlines()
    assert "none of 3 trials" in told[0]
    assert told[1:] == ["  2 × diverged", "  1 × out of memory"]
