"""Seconds that the training loop spent waiting for its next batch."""

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Protocol, TypeVar, runtime_checkable

from tune_cnn.training.meters.meter import Meter

T = TypeVar("T")


@runtime_checkable
class CountsItsWait(Protocol):
    """Batches that know themselves how long their data took to come; all else in their `next` is training."""

    @property
    def waited_s(self) -> float: ...


class DataWait(Meter):
    """data_wait_s: seconds until the data of the next batch had come, over the whole trial (ranks: the mean).

    By the batches' own count where they have one, as our loaders' do: what a loader queues on the device (copy, gather,
    normalising) is training time, though a full queue blocks there. Of other batches it is the time within `next`.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.data_wait_s = 0.0

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches. Making the iterator counts too: a loader may do its first work there."""
        asked_s = perf_counter()
        source = iter(batches)
        counts = source if isinstance(source, CountsItsWait) else None
        counted_s = counts.waited_s if counts is not None else 0.0
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self.data_wait_s += perf_counter() - asked_s if counts is None else counts.waited_s - counted_s
            yield batch
            asked_s = perf_counter()
            counted_s = counts.waited_s if counts is not None else 0.0

    def read(self) -> dict[str, float]:
        return {"data_wait_s": self.data_wait_s}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.data_wait_s = state["data_wait_s"]
