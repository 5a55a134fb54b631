"""The driver's watch over Ray: when silence is said, when it ends a search, and how Ray is asked."""

import threading

import pytest

from tune_cnn.trials.stalls.watch import Patience, Silence, Watch, gone, refused, silent


def looks(
    patience: Patience, silence: Silence | None, *, until_s: float, every_s: float = 5.0
) -> list[tuple[float, str]]:
    """What is said at which second of a silence."""
    said, now_s = [], 0.0
    while now_s < until_s and not patience.is_over:
        now_s += every_s
        line = patience.look(silence, every_s)
        said += [(now_s, line)] if line else []
    return said


@pytest.mark.parametrize(("silence", "said_s", "ends_s"), [(silent("X"), 30, 120), (refused("X"), 5, 60)])
def test_a_silence_is_said_once_and_ends_in_time(silence: Silence, said_s: float, ends_s: float) -> None:
    """With what doesn't answer, and when this ends; what comes back in between starts anew."""
    patience = Patience()
    said = looks(patience, silence, until_s=ends_s - 5)
    assert [at for at, _ in said] == [said_s]
    assert said[0][1].startswith(f"X has not answered for {said_s} s; the search ends within ")
    assert not patience.is_over
    assert patience.look(None, 5.0) == "Ray answers again" and patience.look(None, 5.0) is None
    looks(patience, silence, until_s=ends_s - 5)
    assert not patience.is_over
    patience.look(silence, 5.0)
    assert patience.is_over and patience.silent_s == ends_s


def test_what_never_comes_back_is_not_waited_for() -> None:
    """The last words say it."""
    patience = Patience()
    assert looks(patience, gone("X"), until_s=60) == [] and patience.is_over and patience.silent_s == 5


def test_a_driver_that_was_stopped_itself_has_not_waited() -> None:
    """A night with the lid closed is one look: Ray has time to answer again."""
    patience = Patience()
    patience.look(silent("X"), 8 * 3600.0)
    assert not patience.is_over and patience.silent_s < 30


def test_who_wants_to_stop_waits_for_seconds() -> None:
    """Whether the wish comes in a silence or before it."""
    early, late = Patience(), Patience()
    assert early.hurry() is None
    early.look(silent("X"), 5.0)
    assert not early.is_over
    early.look(silent("X"), 5.0)
    assert early.is_over
    looks(late, silent("X"), until_s=5)
    assert late.hurry() == "X has not answered for 5 s, so this ends within 12 s if it stays so"
    late.look(silent("X"), 5.0)
    assert late.is_over


def test_a_watch_outlives_the_terminal_that_it_speaks_to() -> None:
    """It ends the search all the same, once."""
    ended = threading.Event()

    def say(line: str) -> None:
        raise BrokenPipeError

    brief = Silence(what="X", said_after_s=0.0, ends_after_s=3.0)  # said at the first look, over at the second
    Watch(lambda: brief, say, lambda silence, silent_s: ended.set()).start()
    assert ended.wait(60)
