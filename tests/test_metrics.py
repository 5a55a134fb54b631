"""What stands beside the table of metrics: points in their trials' order."""

from tune_cnn.metrics import EpochPoint, by_trial, last_points


def test_points_stand_by_trial_in_the_order_in_which_they_came():
    """Trials in the order of their first point; none without any."""
    points = [EpochPoint(trial=trial, epoch=epoch) for trial, epoch in ((4, 1), (2, 3), (4, 3), (4, 2))]
    assert {trial: [p.epoch for p in mine] for trial, mine in by_trial(points).items()} == {4: [1, 3, 2], 2: [3]}
    assert list(by_trial(points)) == [4, 2] and by_trial([]) == {}


def test_a_trials_last_point_is_that_of_its_last_epoch():
    """Whenever it came."""
    points = [EpochPoint(trial=trial, epoch=epoch) for trial, epoch in ((4, 1), (2, 3), (4, 3), (4, 2))]
    assert last_points(points) == {4: points[2], 2: points[1]}
    assert last_points([]) == {}
