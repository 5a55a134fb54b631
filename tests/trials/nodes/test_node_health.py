"""Bad nodes are told from bad configurations, and slow nodes from chance."""

import random

from tune_cnn.trials.nodes.node_health import Happened, NodeEvent, Suspicion, slow_nodes, slower


def told(*events: tuple[str, int, str]) -> dict[str, str]:
    """Who is suspect after events of (node, trial, what happened)."""
    return Suspicion(
        NodeEvent(node=node, host=f"host-{node}", happened=Happened(happened), trial=trial, why="it died")
        for node, trial, happened in events
    ).suspects()


def test_a_node_that_loses_trial_after_trial_is_suspect():
    found = told(("a", 1, "lost"), ("b", 2, "ended"), ("a", 3, "lost"))
    assert list(found) == ["a"]
    assert found["a"] == "it lost the processes of trials 1, 3 one after the other (it died)"


def test_where_the_lost_trial_ended_is_said():
    found = told(("a", 1, "lost"), ("b", 1, "ended"), ("a", 3, "lost"))
    assert found["a"].endswith("and trial 1 ended on host-b")


def test_a_process_lost_once_makes_nobody_suspect():
    """It may be anybody's kill; also where its trial has ended elsewhere."""
    assert told(("a", 1, "lost")) == {}
    assert told(("a", 1, "lost"), ("b", 1, "ended")) == {}


def test_one_trial_lost_twice_on_a_node_is_as_well_the_trials_fault():
    assert told(("a", 1, "lost"), ("a", 1, "lost")) == {}


def test_a_trial_that_is_lost_everywhere_is_at_fault_itself():
    assert told(("a", 1, "lost"), ("b", 1, "lost"), ("a", 2, "lost"), ("b", 2, "lost")) == {}


def test_a_node_is_cleared_once_its_lost_trials_are_lost_elsewhere_too():
    events = [("a", 1, "lost"), ("a", 2, "lost")]
    assert list(told(*events)) == ["a"]
    assert told(*events, ("b", 1, "lost")) == {}


def test_a_trial_that_ends_there_clears_a_node():
    assert told(("a", 1, "lost"), ("a", 2, "ended"), ("a", 3, "lost")) == {}


def test_a_device_that_broke_once_is_enough_if_its_trial_ended_elsewhere():
    assert told(("a", 1, "broke")) == {}
    assert list(told(("a", 1, "broke"), ("b", 1, "ended"))) == ["a"]
    assert told(("a", 1, "broke"), ("a", 2, "ended"), ("b", 1, "ended")) == {}


def test_a_device_that_the_driver_says_is_at_fault_is_enough_by_itself():
    broke = NodeEvent(node="a", host="h", happened=Happened.BROKE, trial=1, why="CUDA error; hardware fault: Xid 79")
    assert Suspicion([broke]).suspects() == {"a": "its device broke under trial 1 (CUDA error; hardware fault: Xid 79)"}


def test_nodes_that_go_are_not_suspect():
    """Neither those that were announced nor those that just went."""
    assert told(("a", 1, "gone"), ("a", 2, "gone"), ("a", 3, "moved"), ("a", 4, "moved")) == {}


def test_a_node_that_was_taken_back_begins_anew():
    assert told(("a", 1, "lost"), ("a", 2, "lost")) != {}
    events = [NodeEvent(node="a", host="h", happened=Happened.LOST, trial=n, why="") for n in (1, 2)]
    back = NodeEvent(node="a", host="h", happened=Happened.BACK)
    assert Suspicion([*events, back]).suspects() == {}


def spread(middle: float, count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [middle * rng.uniform(0.9, 1.1) for _ in range(count)]


def test_a_node_whose_trials_take_longer_is_slow_by_so_much():
    found = slow_nodes({"a": spread(1.0, 20, 1), "b": spread(1.3, 8, 2), "c": spread(1.0, 20, 3)})
    assert list(found) == ["b"]
    assert 1.2 < found["b"] < 1.4


def test_few_trials_say_nothing():
    assert slower([1.5] * 4, [1.0] * 100) is None
    assert slower([1.5] * 100, [1.0] * 4) is None
    assert slower([1.5] * 5, [1.0] * 5) is not None


def test_a_little_slower_is_not_slow():
    assert slower(spread(1.1, 50, 1), spread(1.0, 50, 2)) is None


def test_what_scatters_widely_is_left_to_chance():
    """Medians that lie apart among times that lie further apart."""
    assert slower([0.5, 0.6, 1.3, 1.4, 2.5], [0.4, 0.6, 1.0, 2.0, 3.0]) is None


def test_nodes_alike_are_hardly_ever_called_slow():
    rng = random.Random(7)
    called = 0
    for _ in range(200):
        ratios = {node: [rng.lognormvariate(0, 0.3) for _ in range(10)] for node in "abcd"}
        called += bool(slow_nodes(ratios))
    assert called <= 10, "one study in a hundred nodes, twice over"
