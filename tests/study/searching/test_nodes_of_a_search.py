"""Trials that move between nodes, and what the study keeps of its nodes; no Ray."""

import json
from pathlib import Path

import pytest

from study.searching.drivers import Make, epoch, whole_trial
from tune_cnn.errors import TuneCnnError
from tune_cnn.records.store import Store
from tune_cnn.states import TrialState
from tune_cnn.study.nodes import notes, summaries
from tune_cnn.study.searching.hooks import raise_failure
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent


def event(node: str, happened: Happened, trial: int | None = None, why: str | None = None) -> NodeEvent:
    return NodeEvent(node=node, host=f"host-{node}", happened=happened, trial=trial, why=why)


def test_a_trial_that_comes_back_goes_on_before_new_ones(make: Make, store: Store) -> None:
    """With its parameters and its points; the search hears of one trial, not of two."""
    driver = make()
    moved, other = driver.next(), driver.next()
    assert moved is not None and other is not None
    epoch(driver, moved.trial, 1, 0.5, 1.0)
    driver.back(moved.trial)
    assert [trial.number for trial in driver.progress().running] == [other.trial]
    assert driver.next() == moved
    epoch(driver, moved.trial, 1, 0.9, 9.0)  # told again from the checkpoint: the first counts
    epoch(driver, moved.trial, 2, 0.6, 2.0)
    driver.end(moved.trial, TrialState.COMPLETE, None)
    assert [p.metrics["accuracy"] for p in store.points("made-up")] == [0.5, 0.6]
    assert [trial.attempts for trial in store.trials("made-up")] == [2, 1]
    assert driver.counts["complete"] == 1


def test_those_that_came_back_go_on_in_their_order_but_not_where_they_may_not(make: Make) -> None:
    driver = make(budget={"trials": 5})
    given = [driver.next() for _ in range(3)]
    assert [one.trial for one in given if one is not None] == [0, 1, 2]
    driver.back(1)
    driver.back(0)
    first = driver.next({1})
    assert first is not None and first.trial == 0
    second, third = driver.next({1}), driver.next()
    assert second is not None and second.trial == 3, "others begin meanwhile"
    assert third is not None and third.trial == 1


def test_a_trial_that_came_back_is_left_for_the_next_start_when_the_search_is_interrupted(
    make: Make, store: Store
) -> None:
    first = make()
    given = first.next()
    assert given is not None
    first.back(given.trial)
    first.interrupted = True
    assert first.next() is None
    first.finish()
    assert [trial.state for trial in store.trials("made-up")] == ["running"]
    assert make().next() == given


def test_a_trial_that_came_back_after_the_budget_ends_with_what_it_has(make: Make, store: Store) -> None:
    driver = make(budget={"epochs": 1})
    given = driver.next()
    assert given is not None
    epoch(driver, given.trial, 1, 0.5, 1.0)
    driver.back(given.trial)
    assert driver.next() is None
    driver.finish()
    assert [trial.state for trial in store.trials("made-up")] == ["stopped"]


def test_what_happens_to_nodes_is_kept_for_the_next_start(make: Make, store: Store) -> None:
    driver = make()
    events = [event("a", Happened.LOST, 0, "died"), event("a", Happened.LOST, 1, "died"), event("a", Happened.ASIDE)]
    for one in events:
        driver.on_node(one)
    driver.on_node(event("", Happened.NONE_LEFT))
    assert list(make().past_nodes()) == events, "all but what is of no node"


def test_the_nodes_table_counts_and_says_what_is_set_aside(make: Make, store: Store) -> None:
    driver = make()
    for one in (
        event("a", Happened.ENDED, 0),
        event("a", Happened.LOST, 1, "died"),
        event("b", Happened.ENDED, 1),
        event("b", Happened.MOVED, 2),
        event("b", Happened.GONE, 3),
        event("a", Happened.ASIDE, why="it lost what others train"),
    ):
        driver.on_node(one)
    a, b = summaries(store.nodes.of("made-up"))
    assert (a.trials, a.lost, a.moved, a.is_gone, a.why) == (1, 1, 0, False, "it lost what others train")
    assert (b.trials, b.lost, b.moved, b.is_gone, b.aside_since) == (1, 1, 1, True, None)
    assert a.aside_since is not None
    assert notes([a, b]) == ["node host-a (a) is set aside: it lost what others train"]
    json.dumps([one.as_dict() for one in (a, b)])


def test_a_node_whose_trials_take_longer_is_named(
    make: Make, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what the search expects of each configuration before it begins."""
    driver = make(budget={"trials": 200}, stopper={"name": "none"})
    trials = 0
    while trials < 60:
        given = driver.next()
        assert given is not None
        slow = trials % 3 == 0
        seconds = 3.0 if slow else 2.0
        epoch(driver, given.trial, 1, 0.5 + trials / 1000, seconds)
        driver.on_node(event("slow" if slow else "fast", Happened.ENDED, given.trial))
        driver.end(given.trial, TrialState.COMPLETE, None)
        trials += 1
    found = {node.node: node for node in summaries(store.nodes.of("made-up"))}
    assert found["fast"].slower is None
    assert found["slow"].slower is not None and 1.2 < found["slow"].slower < 1.8
    (said,) = notes(list(found.values()))
    assert said.startswith("node host-slow (slow) is slow: its ")
    assert whole_trial(driver) == 60


def test_a_search_whose_nodes_stay_away_ends_with_the_command_that_goes_on(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trials stay unfinished, for the next start."""
    monkeypatch.setenv("TUNE_CNN_AGAIN", "tune-cnn search mine.yaml")
    driver = make()
    given = driver.next()
    assert given is not None
    driver.on_node(
        NodeEvent(node="", host="", happened=Happened.GIVEN_UP, why="no node has taken trials for 9 minutes")
    )
    assert driver.stopping and driver.next() is None
    driver.end(given.trial, TrialState.INTERRUPTED, None)
    driver.finish()
    assert not driver.ended
    with pytest.raises(TuneCnnError, match=r"for 9 minutes, so the search ends;.*\ntune-cnn search mine.yaml") as end:
        raise_failure(driver.failure)
    assert end.value.exit_code == 1
    assert make().next() == given
