"""Points trained again: what they are worth, which carry a front, and that a choice takes them first."""

from typing import Any

import pytest

from tune_cnn.errors import InputError, NothingFits
from tune_cnn.front.choose import Preference, choose
from tune_cnn.front.confirmed import SeedRun, confirmed, failed_candidates, overtaking, run_end
from tune_cnn.front.hypervolume import hypervolume, reference_point
from tune_cnn.front.representatives import representatives
from tune_cnn.metrics import METRICS, EpochPoint
from tune_cnn.states import RunState

OBJECTIVES = [METRICS["accuracy"], METRICS["train_time_s"]]


def runs(trial: int, *values: tuple[float, float] | str | None, **more: float) -> list[SeedRun]:
    """(accuracy, seconds) of a run, the reason why it failed, or None for one still planned."""
    made: list[SeedRun] = []
    for number, value in enumerate(values):
        end: dict[str, Any] = {}
        if isinstance(value, str):
            end = {"state": RunState.FAILED, "reason": value}
        elif value is not None:
            end = {"state": RunState.COMPLETE, "metrics": {"accuracy": value[0], "train_time_s": value[1], **more}}
        made.append(SeedRun(trial=trial, epoch=3, number=number, seed=number, **end))
    return made


def point(trial: int, accuracy: float, seconds: float) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=3, metrics={"accuracy": accuracy, "train_time_s": seconds})


def test_means_say_who_is_on_the_confirmed_front() -> None:
    """Trial 1 looked better once; over its seeds trial 0 is as fast and more accurate."""
    found = confirmed([*runs(0, (0.9, 10.0), (0.92, 10.0)), *runs(1, (0.93, 10.1), (0.7, 10.1))], OBJECTIVES, {})
    assert {one.trial: one.on_front for one in found} == {0: True, 1: False}
    assert found[0].point.metrics == pytest.approx({"accuracy": 0.91, "train_time_s": 10.0})


def test_order_is_the_fronts() -> None:
    """The fastest first."""
    found = confirmed([*runs(0, (0.9, 10.0)), *runs(1, (0.5, 1.0)), *runs(2, (0.95, 50.0))], OBJECTIVES, {})
    assert [one.trial for one in found] == [1, 0, 2]


def test_failed_and_planned_runs_are_counted_and_not_averaged() -> None:
    """A candidate of which every run failed is not confirmed; its reasons are known."""
    of = [*runs(0, (0.9, 10.0), "loss is NaN", None), *runs(1, "out of memory", "out of memory"), *runs(2, None)]
    (one,) = confirmed(of, OBJECTIVES, {})
    assert (one.trial, one.seeds, one.planned, one.failures) == (0, 1, 1, ("loss is NaN",))
    assert failed_candidates(of) == {(1, 3): ["out of memory", "out of memory"]}


def test_means_that_miss_a_constraint_are_not_on_the_front() -> None:
    """Once it fitted into the memory, on average it doesn't."""
    heavy = [*runs(0, (0.9, 10.0), peak_memory_mib=900.0), *runs(0, (0.9, 10.0), peak_memory_mib=1300.0)]
    heavy[1] = SeedRun(**{**vars(heavy[1]), "number": 1})
    (one,) = confirmed(heavy, OBJECTIVES, {"peak_memory_mib": {"max": 1000.0}})
    assert not one.on_front
    assert one.probability is None


def test_steps_of_an_accuracy_are_its_images() -> None:
    """By the split that it was measured on."""
    agreed = runs(0, (0.9, 10.0), (0.9, 11.0), test_accuracy=0.8)
    (one,) = confirmed(agreed, OBJECTIVES, {}, images={"validation_images": 100, "test_images": 1000})
    reach = 12.7062 * 1.5**0.5 / 12**0.5
    assert one.predictions["accuracy"].high == pytest.approx(0.9 + reach * 0.01, abs=1e-5)
    assert one.predictions["test_accuracy"].high == pytest.approx(0.8 + reach * 0.001, abs=1e-5)


def test_probability_needs_two_runs_of_each() -> None:
    """One candidate's is there as soon as it has its second run, the same at every look; the others wait for theirs."""
    young = [*runs(0, (0.9, 10.0), (0.91, 10.2)), *runs(1, (0.95, 20.0))]
    assert [one.probability is None for one in confirmed(young, OBJECTIVES, {})] == [False, True]
    grown = [*young, SeedRun(**{**vars(runs(1, (0.951, 20.1))[0]), "number": 1})]
    told = [one.probability for one in confirmed(grown, OBJECTIVES, {})]
    assert all(p is not None and 0.5 < p <= 1 for p in told)
    assert told == [one.probability for one in confirmed(grown, OBJECTIVES, {})]


def test_failed_runs_lower_the_probability() -> None:
    """The same values, and three runs of five that gave nothing."""
    well = runs(0, (0.9, 10.0), (0.9, 10.0))
    (sure,) = confirmed(well, OBJECTIVES, {})
    (flaky,) = confirmed([*well, *runs(0, None, None, "NaN", "NaN", "NaN")[2:]], OBJECTIVES, {})
    assert (sure.probability, flaky.probability) == (1.0, pytest.approx(0.4, abs=0.02))


def test_a_run_whose_objective_is_no_number_has_failed() -> None:
    """It says which."""
    assert run_end({"accuracy": 0.9, "train_time_s": 1.0}, OBJECTIVES) == ("complete", None)
    assert run_end({"accuracy": float("nan"), "train_time_s": 1.0}, OBJECTIVES) == ("failed", "accuracy is nan")


FRONT = [point(0, 0.5, 1.0), point(1, 0.8, 2.0), point(2, 0.9, 4.0), point(3, 0.901, 4.1), point(4, 0.95, 40.0)]


def test_carriers_begin_with_the_knee_and_the_most_accurate() -> None:
    """Then by what each adds; a larger count only adds to a smaller one."""
    whole = [point(9, 0.01, 0.9), *FRONT]  # the fastest: good for nothing
    reference = reference_point(whole, OBJECTIVES)
    taken = representatives(whole, OBJECTIVES, reference, 6)
    assert taken[1] == FRONT[4]
    assert taken[-1].trial in {9, 3}
    for count in range(1, 7):
        assert representatives(whole, OBJECTIVES, reference, count) == taken[:count]
    third = max(
        (p for p in FRONT if p not in taken[:2]), key=lambda p: hypervolume([*taken[:2], p], OBJECTIVES, reference)
    )
    assert taken[2] == third


def test_carriers_of_a_small_front_are_all_of_it() -> None:
    """A front of one point, one of none, and more asked for than there is."""
    assert representatives([FRONT[0]], OBJECTIVES, reference_point(FRONT, OBJECTIVES), 5) == [FRONT[0]]
    assert representatives([], OBJECTIVES, {}, 5) == []
    assert len(representatives(FRONT, OBJECTIVES, reference_point(FRONT, OBJECTIVES), 50)) == 5


def test_twins_don_t_hide_each_other() -> None:
    """Alone, each of two neighbours contributes next to nothing; one of them is taken before a far end is."""
    twins = [
        point(0, 0.30, 1.0),
        point(1, 0.898, 3.99),
        point(2, 0.90, 4.0),
        point(3, 0.91, 39.0),
        point(4, 0.92, 40.0),
    ]
    taken = representatives(twins, OBJECTIVES, reference_point(twins, OBJECTIVES), 3)
    assert {p.trial for p in taken} & {1, 2}


def test_choice_takes_confirmed_points_first() -> None:
    """The best confirmed one inside, though a searched one promises more; by its means, not by its lucky run."""
    means = [point(1, 0.7, 3.0)]
    chosen = choose(FRONT, OBJECTIVES, Preference(max={"train_time_s": 10.0}), confirmed=means)
    assert chosen is means[0]


def test_choice_falls_back_to_a_searched_point_inside() -> None:
    """Where no confirmed mean meets the bound; and never to the searched values of a confirmed point."""
    means = [point(1, 0.7, 3.0)]
    assert choose(FRONT, OBJECTIVES, Preference(max={"train_time_s": 2.5}), confirmed=means).trial == 0
    with pytest.raises(NothingFits, match="nearest, trial 1"):
        choose([FRONT[1]], OBJECTIVES, Preference(max={"train_time_s": 2.5}), confirmed=means)


def test_knee_of_a_partly_confirmed_front_is_the_confirmed_point_nearest_to_it() -> None:
    """By the ends of the whole front: of two confirmed points alone, both would be ends."""
    means = [point(2, 0.9, 4.0), point(4, 0.95, 40.0)]
    assert choose(FRONT, OBJECTIVES, Preference(), confirmed=means).trial == 2
    assert choose(means, OBJECTIVES, Preference()).trial == 4


def test_nothing_is_chosen_by_the_test_split() -> None:
    """A bound on it is refused like one on a metric that was not measured."""
    (one,) = confirmed(runs(0, (0.9, 10.0), test_accuracy=0.88), OBJECTIVES, {})
    assert one.predictions["test_accuracy"].mean == 0.88
    with pytest.raises(InputError, match="test_accuracy"):
        choose(FRONT, OBJECTIVES, Preference(min={"test_accuracy": 0.5}), confirmed=[one.point])


def test_a_searched_point_overtakes_a_confirmed_one_beyond_its_interval() -> None:
    """In every objective, by more than what a fresh run may give; of several the most accurate."""
    (one,) = confirmed(runs(0, (0.80, 10.0), (0.81, 10.1), (0.82, 10.2)), OBJECTIVES, {})
    edge = one.predictions["accuracy"].high
    assert edge == pytest.approx(0.81 + 4.3027 * 0.01 * (4 / 3) ** 0.5, abs=1e-5)
    better, best = point(7, edge + 0.01, 5.0), point(8, edge + 0.02, 6.0)
    no_better = [point(1, edge - 0.01, 5.0), point(2, 0.99, 10.1), EpochPoint(trial=3, epoch=1, metrics={})]
    assert overtaking(one, no_better, OBJECTIVES) is None
    assert overtaking(one, [*no_better, better, best], OBJECTIVES) == best
    (young,) = confirmed(runs(0, (0.80, 10.0)), OBJECTIVES, {})
    assert overtaking(young, [point(7, 0.81, 9.9)], OBJECTIVES) == point(7, 0.81, 9.9)
    assert overtaking(young, [], OBJECTIVES) is None
