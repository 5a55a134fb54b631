"""Who trains beside whom."""

from tune_cnn.trials.coordinator import Occupancy


def test_a_trial_alone_has_no_cotenants():
    board = Occupancy()
    board.active(1, "node/gpu0")
    assert board.pulse(1) == 0


def test_cotenants_are_those_on_the_same_hardware():
    board = Occupancy()
    for trial, place in ((1, "a"), (2, "a"), (3, "b")):
        board.active(trial, place)
    assert [board.pulse(t) for t in (1, 2, 3)] == [1, 1, 0]


def test_a_pulse_tells_the_most_since_the_last_one():
    """A cotenant that came and went between two epochs has slowed this one all the same."""
    board = Occupancy()
    board.active(1, "a")
    board.active(2, "a")
    board.active(3, "a")
    board.idle(2)
    board.idle(3)
    assert board.pulse(1) == 2
    assert board.pulse(1) == 0


def test_a_cotenant_that_stays_is_counted_in_every_epoch():
    board = Occupancy()
    board.active(1, "a")
    board.active(2, "a")
    assert [board.pulse(1), board.pulse(1)] == [1, 1]


def test_a_trial_that_begins_again_elsewhere_has_left_its_place():
    """Its process died and could not say so."""
    board = Occupancy()
    board.active(1, "a")
    board.active(2, "a")
    board.pulse(1)
    board.active(2, "b")
    board.pulse(1)
    assert (board.pulse(1), board.pulse(2)) == (0, 0)


def test_a_trial_that_never_began_may_end():
    board = Occupancy()
    board.idle(7)
    board.active(1, "a")
    assert board.pulse(1) == 0
