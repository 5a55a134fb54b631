"""The sampler calls from a thread of its own, and costs at most a thousandth of a core."""

import threading

import pytest

from tune_cnn.training.meters.sampler import Sampler


def test_the_sampler_samples_until_it_is_stopped():
    """It calls from a thread of its own, and never after stop() returned."""
    called = threading.Event()
    calls: list[str] = []

    def sample() -> None:
        calls.append(threading.current_thread().name)
        called.set()

    sampler = Sampler(sample)
    sampler.start()
    assert called.wait(60)
    sampler.stop()
    seen = len(calls)
    assert set(calls) == {"tune-cnn-meters"}
    assert not called.wait(0) or len(calls) == seen
    sampler.stop()


def test_the_sampler_rests_a_thousand_times_what_a_sample_cost(monkeypatch):
    """Whatever a sample costs, the sampler takes at most a thousandth of a core."""
    rests: list[float] = []
    cpu_s = [0.0]

    def sample() -> None:
        cpu_s[0] += 0.004

    sampler = Sampler(sample)

    def wait(rest_s: float) -> bool:
        rests.append(rest_s)
        return len(rests) == 3

    monkeypatch.setattr(sampler._stopped, "wait", wait)
    monkeypatch.setattr("tune_cnn.training.meters.sampler.time.thread_time", lambda: cpu_s[0])
    sampler._run()
    assert rests == pytest.approx([0.1, 4.0, 4.0])
