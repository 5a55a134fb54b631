"""Who trains beside whom."""

from tune_cnn.trials.coordinator import Occupancy


def test_a_trial_alone_has_no_cotenants():
    coordinator = Occupancy()
    coordinator.active(1, "node/gpu0")
    assert coordinator.pulse(1) == 0


def test_cotenants_are_those_on_the_same_hardware():
    coordinator = Occupancy()
    for trial, place in ((1, "a"), (2, "a"), (3, "b")):
        coordinator.active(trial, place)
    assert [coordinator.pulse(t) for t in (1, 2, 3)] == [1, 1, 0]


def test_a_pulse_tells_the_most_since_the_last_one():
    """A cotenant that came and went between two epochs has slowed this one all the same."""
    coordinator = Occupancy()
    coordinator.active(1, "a")
    coordinator.active(2, "a")
    coordinator.active(3, "a")
    coordinator.idle(2)
    coordinator.idle(3)
    assert coordinator.pulse(1) == 2
    assert coordinator.pulse(1) == 0


def test_a_cotenant_that_stays_is_counted_in_every_epoch():
    coordinator = Occupancy()
    coordinator.active(1, "a")
    coordinator.active(2, "a")
    assert [coordinator.pulse(1), coordinator.pulse(1)] == [1, 1]


def test_a_trial_that_begins_again_elsewhere_has_left_its_place():
    """Its process died and could not say so."""
    coordinator = Occupancy()
    coordinator.active(1, "a")
    coordinator.active(2, "a")
    coordinator.pulse(1)
    coordinator.active(2, "b")
    coordinator.pulse(1)
    assert (coordinator.pulse(1), coordinator.pulse(2)) == (0, 0)


def test_a_trial_that_never_began_may_end():
    coordinator = Occupancy()
    coordinator.idle(7)
    coordinator.active(1, "a")
    assert coordinator.pulse(1) == 0
