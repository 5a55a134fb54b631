"""Seconds that the training loop spent waiting for its next batch."""

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import TypeVar

from tune_cnn.training.meters.meter import Meter

T = TypeVar("T")


class DataWait(Meter):
    """data_wait_s: wall-clock within the loader's `next`, over the whole trial (ranks: the mean).

    What the loader queues on the device without waiting for it (an asynchronous copy) is training time, not waiting.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.data_wait_s = 0.0

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches. Making the iterator counts too: a loader may do its first work there."""
        asked = perf_counter()
        source = iter(batches)
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self.data_wait_s += perf_counter() - asked
            yield batch
            asked = perf_counter()

    def read(self) -> dict[str, float]:
        return {"data_wait_s": self.data_wait_s}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.data_wait_s = state["data_wait_s"]
