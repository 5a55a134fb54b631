"""The phases of a training: stretches of one learning rate, as the paper takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STRETCHES = ("step", "plateau")  # schedules whose rate stands still between its drops
FALL = 0.99  # a rate below that share of the one before has been dropped, and not rounded


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs from `first` to `last`, from 0, of which some were measured."""

    number: int  # from 1
    first: int
    last: int
    measured: tuple[int, ...]

    @property
    def epochs(self) -> str:
        """As a reader counts: from 1."""
        return f"{self.first + 1}" if self.first == self.last else f"{self.first + 1} to {self.last + 1}"


def phases(rates: Sequence[tuple[int, float]], schedule: str, epochs: int) -> list[Phase]:
    """The phases of `epochs` that were measured at these epochs, with these rates at their first steps.

    A rise, as in a warm-up, belongs to what it leads to. Where the rate changes at every step there are no stretches:
    thirds of the epochs stand for them. A phase of which no epoch was measured is left out.
    """
    if schedule in STRETCHES:
        begins = [0] + [epoch for (_, before), (epoch, rate) in pairwise(rates) if rate < FALL * before]
    else:
        begins = sorted({0, -(-epochs // 3), -(-2 * epochs // 3)})
    found = []
    for number, (begin, end) in enumerate(zip(begins, [*begins[1:], epochs], strict=True), start=1):
        measured = tuple(epoch for epoch, _ in rates if begin <= epoch < end)
        if measured:
            found.append(Phase(number=number, first=begin, last=end - 1, measured=measured))
    return found
