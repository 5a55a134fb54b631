"""The stopper: a trial ends when its curve, with the most that it could plausibly still gain, adds no hypervolume."""

import numpy as np
import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.observations import REFERENCE_AFTER
from tune_cnn.search.search import Past, Search
from tune_cnn.search.stopper import ENOUGH, outlook
from tune_cnn.states import TrialState

RATES = [0.01 * (at + 1) for at in range(40)]
SPACE = {"learning_rate": RATES, "epochs": 8}


def accuracy(top: float, epoch: int) -> float:
    return top * (1 - 0.6**epoch)


def train(
    search: Search, number: int, top: float, epoch_s: float, epochs: int = 8, *, whole: bool = False, **more: float
) -> list[EpochPoint]:
    """The trial's epochs until the search stops it, or to its horizon all the same; the trial is not ended."""
    points = []
    for epoch in range(1, epochs + 1):
        metrics = {"accuracy": accuracy(top, epoch), "train_time_s": epoch * epoch_s, **more}
        points.append(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
        if search.observe(points[-1]) and epoch < epochs and not whole:
            break
    return points


def seen(spec, *, tops=(0.5, 0.6, 0.7, 0.8, 0.9, 0.65, 0.75, 0.85), **changes) -> Search:
    """A search whose reference point is fixed by trials alike but for what they reach."""
    search = Search(spec(SPACE, sampler="random", **changes))
    for number, top in enumerate(tops):
        search.ask(number)
        search.finish(number, TrialState.COMPLETE, train(search, number, top, 1.0, whole=True))
    assert len(tops) >= REFERENCE_AFTER and search.reference is not None
    return search


def test_a_hopeless_trial_stops_and_says_why(spec):
    """Slower and worse than what is there: no epoch of its future could be on the front."""
    search = seen(spec)
    search.ask(8)
    points = train(search, 8, 0.3, 3.0)
    assert len(points) == 3
    assert search.reason(8) == "stopped at epoch 3: at best it would add 0 to the hypervolume of 1.433"


@pytest.mark.parametrize(("top", "epoch_s"), [(0.95, 1.0), (0.9, 0.5), (0.5, 0.1), (0.97, 5.0)])
def test_a_trial_that_ends_on_the_front_is_never_stopped(spec, top, epoch_s):
    """More accurate, faster, or poor and faster than all; slow and more accurate than all."""
    search = seen(spec)
    search.ask(8)
    assert len(train(search, 8, top, epoch_s)) == 8
    assert search.reason(8) is None


def test_stopping_begins_before_the_reference_point_is_fixed(spec):
    """What is beaten inside of what was seen stops; a trial that would end far beyond it goes on for a while.

    At epoch 4 of 40 its end is ten times what was seen of it, as far as the reference lies: no longer beyond it, on
    any processor, though logarithms of the two differ in their last bit.
    """

    def late(search: Search, number: int, top: float, epoch_s: float, *, whole: bool) -> list[EpochPoint]:
        """Nothing is learned before epoch 30 of 40."""
        points = []
        for epoch in range(1, 41):
            metrics = {"accuracy": top if epoch >= 30 else 0.1, "train_time_s": epoch * epoch_s}
            points.append(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
            if search.observe(points[-1]) and not whole:
                break
        return points

    slow = [(epoch_s, 4) for epoch_s in (30.0, 33.3, 35.7, 41.9, 47.1, 53.0, 71.3, 97.0)]
    for epoch_s, stopped_at in ((3.0, 1), *slow):  # of 40 epochs, and a reference ten times what was seen
        bold = {"name": "no_hypervolume_gain", "boldness": 1.0}
        search = Search(spec({"learning_rate": RATES, "epochs": 40}, sampler="random", stopper=bold))
        for number in range(ENOUGH):
            search.ask(number)
            points = late(search, number, 0.88 + number / 100, 1.0, whole=True)
            search.finish(number, TrialState.COMPLETE, points)
        assert search.reference is None
        search.ask(ENOUGH)
        assert len(late(search, ENOUGH, 0.3, epoch_s, whole=False)) == stopped_at


def test_none_stops_nothing(spec):
    """Every trial trains to its horizon."""
    search = seen(spec, stopper="none")
    search.ask(8)
    assert len(train(search, 8, 0.3, 3.0)) == 8


def test_bolder_stops_no_later(spec):
    """Of the same curves; the boldest one grants the mean gain alone."""
    lengths = []
    for boldness in (0.0, 0.5, 1.0):
        search = seen(spec, stopper={"name": "no_hypervolume_gain", "boldness": boldness})
        search.ask(8)
        lengths.append(len(train(search, 8, 0.86, 1.1)))
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[-1]


@pytest.mark.parametrize(
    ("objectives", "stops"),
    [
        (["accuracy"], True),
        (["train_time_s", "accuracy", "images_per_s"], False),
        (["accuracy", "images_per_s"], False),
    ],
)
def test_any_objectives_of_any_directions(spec, objectives, stops):
    """A poor slow trial with the best throughput of all is on the front where throughput counts."""
    search = Search(spec(SPACE, sampler="random", objectives=objectives))
    for number in range(9):
        search.ask(number)
        best = 100.0 if number < 8 else 500.0
        points = train(
            search, number, 0.5 + number / 20 if number < 8 else 0.3, 3.0, whole=number < 8, images_per_s=best
        )
        search.finish(number, TrialState.COMPLETE, points)
    assert (len(points) < 8) == stops


def test_a_trial_that_can_not_keep_a_constraint_stops(spec):
    """A floor of accuracy that its outlook doesn't reach, a memory that it needs: neither will ever count."""
    floor = seen(spec, constraints={"accuracy": {"min": 0.6}})
    floor.ask(8)
    assert len(train(floor, 8, 0.2, 0.1)) < 8
    assert floor.reason(8) == "stopped at epoch 5: it can't keep the constraints any more"
    fits = {"peak_memory_mib": 50.0}
    memory = Search(spec(SPACE, sampler="random", constraints={"peak_memory_mib": {"max": 100}}))
    for number in range(8):
        memory.ask(number)
        memory.finish(number, TrialState.COMPLETE, train(memory, number, 0.5 + number / 20, 1.0, whole=True, **fits))
    memory.ask(8)
    assert len(train(memory, 8, 0.95, 0.5, peak_memory_mib=200.0)) == 1
    memory.ask(9)
    assert len(train(memory, 9, 0.95, 0.5, **fits)) == 8


def test_a_constraint_that_nothing_has_met_yet_stops_only_what_can_not_meet_it(spec):
    """There is no front to add to: a curve that may still reach the floor goes on, before and after it is met."""
    search = Search(spec(SPACE, sampler="random", constraints={"accuracy": {"min": 0.7}}))
    for number in range(REFERENCE_AFTER + 1):
        search.ask(number)
        search.finish(number, TrialState.COMPLETE, train(search, number, 0.5 + number / 40, 1.0, whole=True))
    assert search.reference is None
    search.ask(20)
    assert len(train(search, 20, 0.3, 1.0)) < 8
    assert "can't keep the constraints" in (search.reason(20) or "")
    search.ask(21)
    points = train(search, 21, 0.8, 1.0)
    assert (len(points), search.reason(21)) == (8, None)
    search.finish(21, TrialState.COMPLETE, points)
    assert search.reference is not None


def test_a_constraint_whose_metric_comes_late_stops_nothing_before(spec):
    """The user's own measure, taken at the last epoch alone: its absence is no breach."""
    search = Search(spec(SPACE, sampler="random", constraints={"images_per_s": {"min": 50}}))
    for number in range(REFERENCE_AFTER + 1):
        search.ask(number)
        points = train(search, number, 0.5 + number / 20, 1.0, epochs=7, whole=number < REFERENCE_AFTER)
        assert len(points) == 7, search.reason(number)
        metrics = {"accuracy": accuracy(0.5 + number / 20, 8), "train_time_s": 8.0, "images_per_s": 100.0}
        points.append(EpochPoint(trial=number, epoch=8, metrics=metrics))
        search.observe(points[-1])
        search.finish(number, TrialState.COMPLETE, points)


def test_a_rebuilt_search_stops_what_the_first_one_would_stop(spec):
    """The same decisions for every epoch of trials good and bad, the reference point given back or not."""
    tops = [0.3, 0.55, 0.7, 0.88, 0.95]

    def decisions(search: Search) -> list[int]:
        lengths = []
        for number, top in enumerate(tops, start=8):
            search.ask(number)
            points = train(search, number, top, 0.5 + number / 10)
            search.finish(number, TrialState.COMPLETE if len(points) == 8 else TrialState.STOPPED, points)
            lengths.append(len(points))
        return lengths

    first = seen(spec)
    trials = first._observations.all
    ended = [Past(params=one.params, state=TrialState.COMPLETE, points=list(one.curve.points)) for one in trials]
    expected = decisions(first)
    assert min(expected) < 8 == max(expected)
    for reference in (first.reference, None):
        assert decisions(Search(first._spec, past=ended, reference=reference)) == expected


def test_a_trial_taken_up_keeps_its_curve(spec):
    """A resumed trial is judged at its next epoch by all epochs that it had."""
    search = seen(spec)
    rate = next(r for r in RATES if r not in [k.params["learning_rate"] for k in search._observations.all])
    earlier = [
        EpochPoint(trial=8, epoch=e, metrics={"accuracy": accuracy(0.3, e), "train_time_s": 3.0 * e}) for e in (1, 2, 3)
    ]
    search.resume(8, {"learning_rate": rate, "epochs": 8}, earlier)
    point = EpochPoint(trial=8, epoch=4, metrics={"accuracy": accuracy(0.3, 4), "train_time_s": 12.0})
    assert search.observe(point)
    assert "epoch 4" in (search.reason(8) or "")


def test_a_searched_horizon_is_compared_by_its_share(spec):
    """Curves of 4 epochs are judged by those of 8, stretched: a schedule's end is its end at any length."""
    search = Search(spec({"learning_rate": RATES, "epochs": [4, 8]}, sampler="random"))
    for number in range(10):
        horizon = search.ask(number)["epochs"]
        top = 0.5 + number / 25 if number < 9 else 0.2
        points = train(search, number, top, 1.0 if number < 9 else 4.0, epochs=horizon, whole=number < 9)
        search.finish(number, TrialState.COMPLETE, points)
    assert len(points) < horizon


def test_too_few_curves_say_nothing():
    """The outlook needs enough others that went as far; their gains from a like level are what it grants."""
    mine_em = np.array([[1.0], [np.nan], [np.nan]])
    others_nem = np.stack([[[1.0], [0.5], [0.25]]] * (ENOUGH - 1))
    assert outlook(mine_em, others_nem, boldness=0.5) is None
    enough_nem = np.concatenate([others_nem, others_nem[:1]])
    assert outlook(mine_em, enough_nem, boldness=0.5) == pytest.approx(np.array([[0.5], [0.25]]))


@pytest.mark.parametrize("count", [20, 30, 48])
def test_of_curves_as_near_in_level_the_earliest_are_the_guide(count):
    """A sort that isn't stable gives others on other processors, and so do distances that differ in their last bit."""
    for level in (0.5, 0.3):  # of all the others: at that of this curve, and as far from it to either side
        others_nem = np.full((count, 2, 1), np.nan)
        others_nem[:, 0, 0] = [level if at % 2 else 1.0 - level for at in range(count)]
        others_nem[: count // 2, 0, 0] += 1e-16  # the nearest half by arithmetic need not be the earlier one
        others_nem[:, 1, 0] = others_nem[:, 0, 0] - [0.25 if at < count // 2 else 0.0 for at in range(count)]
        ahead_em = outlook(np.array([[0.5], [np.nan]]), others_nem, boldness=1.0)
        assert ahead_em == pytest.approx(np.array([[0.25]]))


def test_what_any_curve_has_gained_from_an_epoch_is_granted_to_all():
    """Of those that had learned nothing by then most never did, and one took off; boldness 1 grants the mean alone.

    Of few curves the largest gain is not the largest there is: more is granted.
    """
    mine_em = np.array([[1.0], [np.nan]])
    for flat, granted in ((20, -0.283), (2_000, 0.096)):  # the largest gain leads to 0.1
        others_nem = np.array([[[1.0], [1.0]]] * flat + [[[0.5], [0.2]], [[0.4], [0.3]], [[0.3], [-0.6]]])
        assert outlook(mine_em, others_nem, boldness=0.5) == pytest.approx(np.array([[granted]]), abs=5e-4)
        assert outlook(mine_em, others_nem, boldness=1.0) == pytest.approx(np.array([[1.0]]))
