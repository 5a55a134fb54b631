"""What a message on the choice of a point tells its reader to do leads out."""

from inputs.advice import not_followed, refusal

from tune_cnn.front.choose import Preference, choose, parse_where
from tune_cnn.metrics import METRICS, EpochPoint

POINTS = [EpochPoint(trial=0, epoch=1, metrics={"accuracy": 0.5, "train_time_s": 2.0})]
OBJECTIVES = [METRICS["accuracy"], METRICS["train_time_s"]]
BOTH = {"max": {"train_time_s": 1.0}, "min": {"train_time_s": 2.0}}


def a_bound_written_wrong() -> object:
    return parse_where("peak_memory_mib<8000")


def bounds_that_exclude_each_other() -> object:
    return Preference(**BOTH)


def nothing_fits() -> object:
    return choose(POINTS, OBJECTIVES, Preference(max={"train_time_s": 1.0}))


def test_a_bound_that_is_written_as_the_message_shows_is_read():
    told = refusal(a_bound_written_wrong)
    assert parse_where(told.partition("--where '")[2].partition("'")[0]) == ("peak_memory_mib", "<=", 8000)


def test_of_two_bounds_that_exclude_each_other_either_can_go():
    assert "drop one of the two bounds" in refusal(bounds_that_exclude_each_other)
    for side, limits in BOTH.items():
        Preference(**{side: limits})


def test_the_nearest_point_fits_once_the_bound_that_is_named_is_loosened():
    told = refusal(nothing_fits)
    assert "Loosen that bound" in told and "train_time_s" in told and "2" in told
    assert choose(POINTS, OBJECTIVES, Preference(max={"train_time_s": 2.0})) == POINTS[0]


def test_every_piece_of_advice_on_the_front_is_followed_here():
    told = map(refusal, (a_bound_written_wrong, bounds_that_exclude_each_other, nothing_fits))
    assert not_followed("front", told) == []
