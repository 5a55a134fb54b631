"""A slot hears that its node is going, and its training leaves the epoch in time."""

import pickle
import queue
import time

from tune_cnn.trials.nodes.leaving import CHECKPOINT_S, Notice, SlotLeft


def heard(until_s: float) -> tuple[Notice, "queue.Queue[float]"]:
    """A notice that has come, and what the training was told."""
    told: queue.Queue[float] = queue.Queue()
    return Notice(lambda: until_s, lambda *, within_s: told.put(within_s)), told


def test_an_epoch_may_end_that_leaves_time_for_a_checkpoint():
    _, told = heard(time.time() + 100.0 + CHECKPOINT_S)
    assert 90.0 < told.get(timeout=60) <= 100.0


def test_a_node_that_goes_at_once_has_the_epoch_left_at_once():
    _, told = heard(time.time() + 1.0)
    assert told.get(timeout=60) == 0.0


def test_a_trial_that_begins_after_the_notice_is_told_too():
    notice, told = heard(time.time() + 100.0)
    told.get(timeout=60)
    notice.tell()
    assert told.get(timeout=60) > 0.0


def test_without_a_time_the_epoch_is_trained_to_its_end():
    notice, told = heard(0.0)
    notice.tell()
    assert told.empty()


def test_a_search_that_ends_gives_no_notice():
    told: queue.Queue[float] = queue.Queue()

    def gone() -> float:
        raise ConnectionError("the coordinator is gone")

    notice = Notice(gone, lambda *, within_s: told.put(within_s))
    notice.tell()
    assert told.empty()


def test_what_a_slot_says_as_it_leaves_crosses_processes():
    left = pickle.loads(pickle.dumps(SlotLeft("its node is going", ["a", "b"])))
    assert (str(left), left.nodes) == ("its node is going", ("a", "b"))
