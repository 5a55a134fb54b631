"""A measured stretch is as long as it must be, begins after the warm-up, and ends at one step on all ranks."""

from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.profiling.pace import LEAST_STEPS, Pace, Then


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def walked(step_s: list[float], *, warm_up: int, least_s: float, pause_s: float = 0.0) -> tuple[int, float]:
    """Steps on the clock and their seconds; `step_s` of each step, the last one of all that follow."""
    clock = Clock()
    pace = Pace(ProcessGroup(), warm_up=warm_up, least_s=least_s, clock=clock)
    taken, took_s, begun = 0, 0.0, False
    for at in range(100_000):
        length_s = step_s[min(at, len(step_s) - 1)]
        clock.now_s += length_s
        if begun:
            taken, took_s = taken + 1, took_s + length_s
        then = pace.after_step()
        if then is Then.GO_ON:
            continue
        assert (then is Then.BEGIN) == (at + 1 == warm_up)
        pace.look()
        decided = pace.decided()
        clock.now_s += pause_s
        pace.go_on()
        begun = True
        if then is Then.LOOK and decided is Then.END:
            return taken, took_s
    raise AssertionError("it never ends")


def test_it_lasts_as_long_as_it_must():
    taken, took_s = walked([0.01], warm_up=3, least_s=2.0)
    assert 200 <= taken <= 202
    assert took_s >= 2.0 - 1e-9


def test_slow_first_steps_only_shorten_the_first_part():
    """The stretch goes on until it is long enough."""
    taken, took_s = walked([5.0, 0.5, 0.01], warm_up=2, least_s=1.0)
    assert 100 <= taken <= 103
    assert took_s >= 1.0 - 1e-9


def test_steps_that_are_long_are_taken_a_few_times_all_the_same():
    assert walked([10.0], warm_up=1, least_s=2.0)[0] == LEAST_STEPS


def test_pauses_are_no_part_of_it():
    taken, took_s = walked([5.0, 0.5, 0.01], warm_up=2, least_s=1.0, pause_s=50.0)
    assert 100 <= taken <= 103
    assert took_s >= 1.0 - 1e-9
