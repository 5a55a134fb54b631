"""Waits for Ray's answers end, and say what they waited for."""

import time

import pytest

from tune_cnn.errors import PeerLost
from tune_cnn.trials import waiting
from tune_cnn.trials.cluster.remote import answer_of
from tune_cnn.trials.waiting import answered, answered_some_time


def test_an_answer_that_does_not_come_is_named_and_a_long_one_is_waited_for(one_ray, monkeypatch):
    """As long as the one who gives it answers another call."""
    import ray

    monkeypatch.setattr(waiting, "PIECE_S", 0.2)
    answers = ray.remote(num_cpus=0)(lambda value, after_s: (time.sleep(after_s), value)[1])
    late = answers.remote("late", 600.0)
    try:
        with pytest.raises(PeerLost, match=r"no answer of the slots' coordinator in 0 s"):
            answered(late, "the slots' coordinator", within_s=0.1)
        assert isinstance(answer_of(late, within_s=0.1), TimeoutError)
        asked = []

        def there() -> object:
            asked.append(1)
            return answers.remote(None, 0.0)

        assert answered_some_time(answers.remote("there", 1.0), "it", there=there) == "there"
        assert asked, "it was asked meanwhile"
    finally:
        ray.cancel(late, force=True)
