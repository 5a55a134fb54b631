"""Waiting for data is the loader's time, and not the steps'."""

import pytest

from tune_cnn.training.meters.data_wait import DataWait


def test_waiting_is_the_loaders_time_and_not_the_steps(monkeypatch):
    """A loader that takes 2 s a batch and 1 s to notice its end, steps of 5 s: 3 × 2 + 1 s of waiting."""
    now_s = [0.0]
    monkeypatch.setattr("tune_cnn.training.meters.data_wait.perf_counter", lambda: now_s[0])

    def loader():
        for batch in range(3):
            now_s[0] += 2.0
            yield batch
        now_s[0] += 1.0

    wait = DataWait()
    seen = []
    for batch in wait.watch(loader()):
        now_s[0] += 5.0
        seen.append(batch)
    assert seen == [0, 1, 2]
    assert wait.read() == {"data_wait_s": 7.0}


def test_batches_that_count_their_wait_are_believed(monkeypatch):
    """Of 2 s in `next` the data took half a second: the rest was a device whose queue was full."""
    now_s = [0.0]
    monkeypatch.setattr("tune_cnn.training.meters.data_wait.perf_counter", lambda: now_s[0])

    class Counting:
        waited_s = 3.0  # from before

        def __init__(self) -> None:
            self.left = 4

        def __iter__(self):
            return self

        def __next__(self) -> int:
            now_s[0] += 2.0
            self.waited_s += 0.5
            self.left -= 1
            if not self.left:
                raise StopIteration
            return self.left

    wait = DataWait()
    assert list(wait.watch(Counting())) == [3, 2, 1]
    assert wait.read() == {"data_wait_s": 2.0}


def test_batches_of_none_and_errors_of_the_loader_come_through():
    """None is a batch like another; the loader's error is not swallowed."""
    wait = DataWait()
    assert list(wait.watch([None, None])) == [None, None]

    def broken():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(wait.watch(broken()))
