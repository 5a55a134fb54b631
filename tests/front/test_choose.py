"""The point that fits a preference, and what is said when none does."""

import math

import numpy as np
import pytest

from tune_cnn.errors import InputError, NothingFits
from tune_cnn.front.choose import Preference, choose, knee, parse_where
from tune_cnn.front.dominance import front
from tune_cnn.metrics import METRICS, EpochPoint, Metric

ACCURACY, TIME, MEMORY = METRICS["accuracy"], METRICS["train_time_s"], METRICS["peak_memory_mib"]
BOTH = [ACCURACY, TIME]


def point(trial: int, accuracy: float, time: float, **more: float) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=1, metrics={"accuracy": accuracy, "train_time_s": time, **more})


# time in decades: 0, 1, 2, 3; most of the accuracy is reached at trial 2
CURVE = [
    point(1, 0.50, 1.0, peak_memory_mib=100.0),
    point(2, 0.90, 10.0, peak_memory_mib=900.0),
    point(3, 0.92, 100.0, peak_memory_mib=500.0),
    point(4, 0.95, 1000.0, peak_memory_mib=300.0),
    point(5, 0.85, 90.0, peak_memory_mib=200.0),  # dominated in accuracy and time
]


def chosen(preference: Preference, objectives: list[Metric] = BOTH, points: list[EpochPoint] = CURVE) -> int:
    return choose(points, objectives, preference).trial


def test_no_preference_gives_the_knee() -> None:
    """The farthest from the chord between (0.50, 1 s) and (0.95, 1000 s), times on a log scale."""
    assert chosen(Preference()) == 2
    assert chosen(Preference(knee=True)) == 2


def test_the_knee_sees_times_by_decades() -> None:
    """On a linear scale the second point, 99 % of the way down from 1000 s, would win."""
    points = [point(1, 0.0, 0.001), point(2, 0.1, 10.0), point(3, 0.8, 20.0), point(4, 1.0, 1000.0)]
    assert chosen(Preference(), points=points) == 3


def test_dominated_points_do_not_move_the_knee() -> None:
    """A run that took for ever for nothing would stretch the axis of time."""
    assert chosen(Preference(), points=[*CURVE, point(6, 0.5, 1e30)]) == 2


@pytest.mark.parametrize("seed", range(20))
def test_the_knee_is_the_farthest_from_the_line_through_the_ends(seed: int) -> None:
    """Against the textbook distance of a point from a line, counted positive on the ideal's side."""
    draws = np.random.default_rng(seed).random((40, 2)).tolist()
    on_front = front([point(1 + i, 0.5 * a, 10**t) for i, (a, t) in enumerate(draws)], BOTH)
    on_front = [point(100, 0.0, 0.5), *on_front, point(101, 1.0, 20.0)]
    flat = np.array([[1 - p.metrics["accuracy"], math.log10(p.metrics["train_time_s"])] for p in on_front])
    unit = (flat - flat.min(axis=0)) / np.ptp(flat, axis=0)
    (ax, ay), (bx, by) = unit[0], unit[-1]

    def distance(x: float, y: float) -> float:
        return float((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / math.hypot(bx - ax, by - ay)

    toward_ideal = math.copysign(1.0, distance(0.0, 0.0))
    distances = [toward_ideal * distance(x, y) for x, y in unit]
    farthest = int(np.argmax(distances))
    if distances[farthest] < 1e-9:  # all beyond the chord: no knee, so the most accurate
        farthest = len(on_front) - 1
    assert knee(on_front, BOTH) == on_front[farthest]


def test_the_knee_of_one_point_is_that_point_and_of_two_the_more_accurate() -> None:
    assert chosen(Preference(), points=CURVE[:1]) == 1
    assert chosen(Preference(), points=CURVE[:2]) == 2
    assert chosen(Preference(), [TIME, ACCURACY], CURVE[:2]) == 1  # the first objective decides


def test_points_on_one_line_or_bulging_away_have_no_knee_so_the_first_objective_decides() -> None:
    lines = [[point(i, i / n, 10.0 ** (3 * i / n)) for i in range(n + 1)] for n in range(2, 12)]
    bulge = [point(1, 0.1, 1.0), point(2, 0.2, 900.0), point(3, 0.9, 1000.0)]
    assert [chosen(Preference(), points=line) for line in lines] == list(range(2, 12))
    assert chosen(Preference(), points=bulge) == 3


def test_the_knee_of_three_objectives_has_the_least_sum_of_normalised_ones() -> None:
    """Also where one point is the best in two objectives, and where an objective is the same for all."""
    points = [
        point(1, 0.9, 1000.0, peak_memory_mib=10.0),
        point(2, 0.5, 1.0, peak_memory_mib=10.0),
        point(3, 0.85, 10.0, peak_memory_mib=12.0),
        point(4, 0.6, 5.0, peak_memory_mib=10.0),
        point(5, 0.89, 500.0, peak_memory_mib=1.0),
    ]
    three = [ACCURACY, TIME, MEMORY]
    assert chosen(Preference(), three, points) == 5
    for off in (0.0, 1e-15):  # the same but for the last bit, as a logarithm may be
        same = [7.0 * (1.0 + off * (p.trial == 3)) for p in points]
        level = [
            EpochPoint(trial=p.trial, epoch=1, metrics={**p.metrics, "peak_memory_mib": memory})
            for p, memory in zip(points, same, strict=True)
        ]
        assert chosen(Preference(), three, level) == chosen(Preference(), BOTH, level) == 3


def test_a_deadline_gives_the_most_accurate_in_time() -> None:
    assert chosen(Preference(max={"train_time_s": 100.0})) == 3


def test_an_accuracy_alone_gives_the_fastest_that_reaches_it() -> None:
    assert chosen(Preference(min={"accuracy": 0.85})) == 2
    assert chosen(Preference(min={"accuracy": 0.91})) == 3


def test_two_bounds_give_the_most_accurate_inside_both() -> None:
    assert chosen(Preference(min={"accuracy": 0.6}, max={"train_time_s": 150.0})) == 3


def test_a_bound_on_another_metric_can_choose_a_dominated_point() -> None:
    """Trial 5 is off the front, but the most accurate within 200 MiB."""
    assert chosen(Preference(max={"peak_memory_mib": 200.0})) == 5
    assert chosen(Preference(max={"peak_memory_mib": 200.0}, min={"accuracy": 0.6})) == 5


def test_the_objectives_order_says_what_matters_most() -> None:
    """With time first, a deadline alone asks for the most accurate, and an accuracy for the fastest."""
    assert chosen(Preference(max={"train_time_s": 100.0}), [TIME, ACCURACY]) == 3
    assert chosen(Preference(min={"accuracy": 0.91}), [TIME, ACCURACY]) == 3
    assert chosen(Preference(min={"accuracy": 0.6}, max={"train_time_s": 150.0}), [TIME, ACCURACY]) == 2


def test_a_bound_from_the_good_side_asks_nothing_of_the_first_objective() -> None:
    """accuracy <= 0.91 still wants the most accurate below it, not the fastest."""
    assert chosen(Preference(max={"accuracy": 0.91})) == 2


def test_a_single_objective_is_chosen_by_it_whatever_is_bounded() -> None:
    assert chosen(Preference(), [ACCURACY]) == 4
    assert chosen(Preference(min={"accuracy": 0.6}), [ACCURACY]) == 4


def test_the_knee_inside_bounds_is_that_of_the_points_inside() -> None:
    inside = [p for p in CURVE if p.metrics["accuracy"] >= 0.9]
    wanted = Preference(min={"accuracy": 0.9}, knee=True)
    assert choose(CURVE, BOTH, wanted) == knee(front(inside, BOTH), BOTH)
    assert chosen(wanted) == 4  # of the two legs from 2 to 3 to 4 the first gains less a decade: no knee inside


def test_ties_go_to_the_other_objectives_then_to_the_earliest() -> None:
    points = [point(9, 0.9, 5.0), point(8, 0.9, 4.0), point(3, 0.9, 4.0), point(1, 0.8, 1.0)]
    assert chosen(Preference(max={"train_time_s": 10.0}), points=points) == 3


@pytest.mark.parametrize("seed", range(5))
def test_what_is_chosen_inside_bounds_is_on_the_front_of_what_is_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [
        point(i, a, t, peak_memory_mib=m) for i, (a, t, m) in enumerate(rng.integers(1, 10, (80, 3)).astype(float))
    ]
    wanted = Preference(max={"peak_memory_mib": 6.0, "train_time_s": 7.0})
    inside = [p for p in points if p.metrics["peak_memory_mib"] <= 6 and p.metrics["train_time_s"] <= 7]
    assert choose(points, BOTH, wanted) in front(inside, BOTH)
    assert choose(points, BOTH, wanted).metrics["accuracy"] == max(p.metrics["accuracy"] for p in inside)


def test_nothing_fits_names_the_nearest_and_the_miss() -> None:
    with pytest.raises(NothingFits) as caught:
        choose(CURVE, BOTH, Preference(min={"accuracy": 0.9}, max={"train_time_s": 8.0}))
    assert str(caught.value) == (
        "none of 5 epoch points has accuracy >= 0.9 and train_time_s <= 8 s; the nearest, trial 2 at epoch 1, misses "
        "by train_time_s = 10 s, 2 s above the bound. Loosen that bound, or search on with a larger budget."
    )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("points", [[], [point(1, math.nan, 1.0)]])
def test_nothing_fits_where_no_point_is_usable(points: list[EpochPoint]) -> None:
    with pytest.raises(NothingFits, match=rf"of {len(points)} epoch points none has finite accuracy and train_time_s"):
        choose(points, BOTH, Preference())


def test_unusable_points_are_never_chosen() -> None:
    assert chosen(Preference(max={"train_time_s": 1e9}), points=[point(1, math.inf, 1.0), *CURVE]) == 4


def test_a_bound_on_a_metric_that_no_point_carries_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match=r"'peak_memory'; did you mean 'peak_memory_mib'\?"):
        choose(CURVE, BOTH, Preference(max={"peak_memory": 1.0}))


def test_a_preference_refuses_bounds_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="max of train_time_s must be a finite number, got nan"):
        Preference(max={"train_time_s": math.nan})
    with pytest.raises(InputError, match=r"accuracy can't be at least 0\.9 and at most 0\.8"):
        Preference(max={"accuracy": 0.8}, min={"accuracy": 0.9})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("peak_memory_mib<=8000", ("peak_memory_mib", "<=", 8000.0)),
        (" accuracy >= 0.5 ", ("accuracy", ">=", 0.5)),
        ("my.metric-2>=-1e-3", ("my.metric-2", ">=", -1e-3)),
    ],
)
def test_where_is_read(text: str, parsed: tuple[str, str, float]) -> None:
    assert parse_where(text) == parsed


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy<0.5", "accuracy=0.5", "<=3", "a b<=3", "a<=", "a<=1<=2 3"])
def test_where_that_is_no_bound_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="must be METRIC<=VALUE or METRIC>=VALUE, got"):
        parse_where(text)


@pytest.mark.parametrize("number", ["much", "nan", "inf", "10s"])
def test_where_wants_a_finite_number(number: str) -> None:
    with pytest.raises(InputError, match=f"bound of train_time_s must be a finite number .*, got '{number}'"):
        parse_where(f"train_time_s<={number}")


def test_where_adds_to_a_preference_and_the_tighter_bound_holds() -> None:
    base = Preference(max={"train_time_s": 10.0}, knee=True)
    wanted = base.where(["train_time_s<=20", "accuracy>=0.5", "accuracy>=0.7", "peak_memory_mib<=5"])
    assert wanted == Preference(max={"train_time_s": 10.0, "peak_memory_mib": 5.0}, min={"accuracy": 0.7}, knee=True)
    assert base == Preference(max={"train_time_s": 10.0}, knee=True)
