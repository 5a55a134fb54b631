"""What comes after a step is rank 0's decision, which all ranks learn of after the same step."""

from itertools import pairwise

import pytest

from tune_cnn.training.between_steps import AGREE_EVERY_S, BetweenSteps, Leaving, Then
from tune_cnn.training.process.process_group import ProcessGroup


class Ranks(ProcessGroup):
    """Rank 0 of two; the other one hears what it says."""

    def __init__(self, rank: int, told: list[object]) -> None:
        super().__init__(rank)
        self.ranks, self.told = 2, told

    def share(self, value: object) -> object:
        if self.rank == 0:
            self.told.append(value)
        return self.told[-1]


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_both_ranks_ask_at_the_same_steps_about_once_a_second() -> None:
    """Seldom where steps are short, though rank 1's clock stands still; and at most twice as far apart as before."""
    told: list[object] = []
    clock, leaving = Clock(), Leaving()
    first = BetweenSteps(Ranks(0, told), lambda: False, leaving, clock=clock)
    other = BetweenSteps(Ranks(1, told), lambda: False, Leaving(), clock=Clock())
    asked = []
    for step in range(1, 2001):
        clock.now_s += 0.01
        before = len(told)
        thens = first.then(step, 3000), other.then(step, 3000)
        assert thens[0] is thens[1]
        if len(told) > before:
            asked.append(step)
        if thens[0] is Then.LEAVE:
            break
        if step == 1500:
            leaving.ask(0.0)
    assert asked[:7] == [1, 3, 7, 15, 31, 63, 127]
    assert {b - a for a, b in pairwise(asked[7:])} <= {99, 100, 101}
    assert 1500 < step <= 1500 + 1.01 * AGREE_EVERY_S / 0.01


def test_alone_a_rank_decides_at_once() -> None:
    """A checkpoint where one is due, an end where that was asked for, and neither after the last step."""
    due, leaving = [False], Leaving()
    between = BetweenSteps(ProcessGroup(), lambda: due[0], leaving)
    assert between.then(1, 9) is Then.GO_ON
    due[0] = True
    assert between.then(2, 9) is Then.WRITE
    assert between.then(9, 9) is Then.GO_ON
    leaving.ask(0.0)
    assert between.then(3, 9) is Then.LEAVE
    assert between.then(9, 9) is Then.GO_ON


@pytest.mark.parametrize(("within_s", "then"), [(4.0, Then.LEAVE), (6.0, Then.GO_ON)])
def test_an_epoch_is_left_where_its_rest_takes_longer_than_was_said(within_s: float, then: Then) -> None:
    """By its steps so far: five more of a second each."""
    clock, leaving = Clock(), Leaving()
    between = BetweenSteps(ProcessGroup(), lambda: False, leaving, clock=clock)
    between.begin(3)
    leaving.ask(within_s)
    clock.now_s += 2.0
    assert between.then(5, 10) is then
    leaving.ask(0.0)
    leaving.ask(60.0)  # who has time doesn't take back what another had to say
    assert between.then(5, 10) is Then.LEAVE
