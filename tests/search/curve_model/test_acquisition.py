"""What the sampler `curve_ehvi` is made of: candidates, a model of curves, what these would add, what it costs."""

import moocore
import numpy as np
import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.acquisition import discrepancy_with
from tune_cnn.search.curve_model.candidates import Candidates
from tune_cnn.search.curve_model.cost_model import CostModel
from tune_cnn.search.curve_model.curve_gp import CurveModel, column_shares, completed
from tune_cnn.search.curve_model.curves import Curve
from tune_cnn.search.curve_model.gaussian_process import GaussianProcess
from tune_cnn.search.curve_model.hypervolume_improvement import HypervolumeImprovement
from tune_cnn.search.curve_model.memory_model import MemoryModel
from tune_cnn.search.search import Search
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec.costs import Cost
from tune_cnn.states import TrialState

GRID = {"batch_size": [32, 64, 128], "learning_rate": [0.01, 0.1, 1.0], "epochs": [2, 8]}


def candidates(whole) -> Candidates:
    return Candidates(SearchSpace(whole.space), lambda params: whole.configuration(params).horizon)


def centred_discrepancy(rows: np.ndarray) -> float:
    """Its square, term by term, as Hickernell writes it."""
    n, d = rows.shape
    z = np.abs(rows - 0.5)
    single = sum(np.prod(1 + z[i] / 2 - z[i] ** 2 / 2) for i in range(n))
    double = sum(np.prod(1 + z[i] / 2 + z[k] / 2 - np.abs(rows[i] - rows[k]) / 2) for i in range(n) for k in range(n))
    return float((13 / 12) ** d - 2 / n * single + double / n**2)


def test_the_first_configurations_lie_evenly(spec):
    """By the centred discrepancy, but for what the tried ones add; a second corner is worse than near the middle."""
    rng = np.random.default_rng(0)
    tried, offered = rng.random((5, 3)), rng.random((40, 3))
    expected = [centred_discrepancy(np.vstack([tried, row])) for row in offered]
    found = discrepancy_with(offered, tried)
    assert found - found.mean() == pytest.approx(np.array(expected) - np.mean(expected))
    corner = np.zeros((1, 2))
    assert np.argmin(discrepancy_with(np.array([[1.0, 1.0], [0.6, 0.6]]), corner)) == 1


def test_the_process_finds_a_function_and_which_inputs_matter():
    """Near its data it is sure, far from them not; an input without effect gets a long length."""
    rng = np.random.default_rng(0)
    inputs = rng.random((40, 2))
    process = GaussianProcess(2)
    targets = np.sin(4 * inputs[:, 0])
    process.tune(inputs, targets[:, None])
    at = rng.random((50, 2))
    mean, doubt = process.predict(inputs, targets[:, None], np.zeros((40, 1)), at)
    assert np.abs(mean[:, 0] - np.sin(4 * at[:, 0])).max() < 0.05
    assert process.log_lengths_d[1] > process.log_lengths_d[0] + 1
    _, far = process.predict(inputs, targets[:, None], np.zeros((40, 1)), np.array([[5.0, 0.5]]))
    assert far[0, 0] > 5 * doubt.max()


def test_curves_go_on_as_those_that_went_further():
    """By their mean step, with their spread as doubt; times double with the epochs even where nothing went so far."""
    nan = np.nan
    seen = np.array([[[0.0], [-0.5], [-0.9]], [[0.1], [-0.4], [-1.0]], [[0.2], [nan], [nan]]])
    done = completed(seen, np.array([0.25, 0.5, 1.0]))
    assert done.levels_ngm[2, :, 0] == pytest.approx([0.2, -0.3, -0.8])
    assert done.variance_ngm[2, 2, 0] > done.variance_ngm[2, 1, 0] > 0 == done.variance_ngm[0].max()
    times = completed(np.log10(np.array([[[1.0], [2.0], [nan]]])), np.array([0.25, 0.5, 1.0]))
    assert 10 ** times.levels_ngm[0, 2, 0] == pytest.approx(4.0)


def test_the_model_tells_a_rate_that_learns_from_one_that_does_not():
    """Over the configurations, with curves that were stopped among them."""
    rates = np.linspace(0, 1, 15)
    curves = []
    for at, rate in enumerate(rates):
        error = np.log10(np.array([0.9, 0.5, 0.4, 0.3]) * (0.2 + 0.8 * abs(rate - 0.5)))
        levels = np.full((4, 1), np.nan)
        upto = 2 if at % 3 == 0 else 4
        levels[:upto, 0] = error[:upto]
        curves.append(Curve(horizon=4, levels_em=levels, seen=upto))
    model = CurveModel(1, 1)
    model.learn(rates[:, None], curves, column_shares(4))
    mean, doubt = model.predict(np.array([[0.45], [0.95]]))
    assert mean[0, -1, 0] < mean[1, -1, 0] - 0.2
    assert (doubt > 0).all()


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_what_curves_would_add_is_the_hypervolume_of_their_points_beyond_the_front(objectives):
    """Cumulatively, point by point; as moocore measures it, but for the grid or the draws."""
    rng = np.random.default_rng(1)
    front, curves = rng.random((6, objectives)), rng.random((10, 4, objectives)) * 1.2
    improvement = HypervolumeImprovement(front, np.maximum(front.max(axis=0), curves.max(axis=(0, 1))) * 1.02, rng=rng)

    def volume(points):
        return float(points.max()) if objectives == 1 else moocore.hypervolume(-points, ref=np.zeros(objectives))

    found = improvement.of_curves(curves)
    for c, curve in enumerate(curves):
        for g in range(4):
            expected = volume(np.vstack([front, curve[: g + 1]])) - volume(front)
            assert found[c, g] == pytest.approx(expected, abs={1: 1e-9, 2: 0.02, 3: 0.15}[objectives])
    assert (np.diff(found, axis=1) >= 0).all()


def test_time_is_known_of_what_costs_the_same_and_judged_of_the_rest(spec):
    """A probe says it before any trial; a trial's own epochs count more; others are judged by a line."""
    made, costs = candidates(spec(GRID)), CostModel()
    first = made.of({"batch_size": 0, "learning_rate": 0, "epochs": 0})
    other_rate = made.of({"batch_size": 0, "learning_rate": 2, "epochs": 1})
    larger = made.of({"batch_size": 2, "learning_rate": 0, "epochs": 0})
    assert costs.known(first.cost) is None
    costs.probe(first.params, first.row_d, Cost(step_time_s=0.1, steps_per_epoch=100))
    assert costs.known(other_rate.cost) == pytest.approx(10.0)  # the learning rate costs nothing
    assert costs.known(larger.cost) is None
    metrics = {"accuracy": 0.5, "train_time_s": 24.0}
    costs.observe(other_rate.params, other_rate.row_d, EpochPoint(trial=3, epoch=2, metrics=metrics))
    assert costs.known(first.cost) == pytest.approx(12.0)


def test_an_unknown_time_is_judged_by_its_like(spec):
    """Half the seconds at twice the batch, learned from four batches, holds for the fifth."""
    search = Search(spec({"batch_size": [16, 32, 64, 128, 256]}))
    assert search.epoch_time_s({"batch_size": 256}) is None
    for batch in (16, 32, 64, 128):
        search.learn_cost({"batch_size": batch}, Cost(step_time_s=1.0, steps_per_epoch=1024 / batch))
    assert search.epoch_time_s({"batch_size": 256}) == pytest.approx(4.0, rel=0.3)
    assert search.epoch_time_s({"batch_size": 7}) is None


def test_what_can_not_end_an_epoch_in_the_time_left_is_not_proposed(spec):
    """By every sampler, while something else can; with no time for anything, something is proposed all the same."""
    for sampler in ("curve_ehvi", "random", "tpe"):
        search = Search(spec({"batch_size": [16, 64, 256], "learning_rate": [0.01, 0.03, 0.1, 0.3]}, sampler=sampler))
        for batch, seconds in ((16, 100.0), (64, 50.0), (256, 5.0)):
            search.learn_cost({"batch_size": batch, "learning_rate": 0.1}, Cost(step_time_s=seconds, steps_per_epoch=1))
        assert {search.ask(n, within_s=60.0)["batch_size"] for n in range(8)} == {64, 256}, sampler
        assert search.ask(8, within_s=1.0)


def test_epochs_beyond_the_time_left_count_for_nothing(spec):
    """With time for little, the one that is short."""
    space = {"batch_size": [16, 32, 64, 128], "epochs": 8}

    def asked(within_s: float | None) -> int:
        search = Search(spec(space, objectives=["accuracy"], stopper="none"))
        for number, batch in enumerate((16, 64)):
            search.queue({"batch_size": batch, "epochs": 8})
            assert search.ask(number)["batch_size"] == batch
            for epoch in range(1, 9):
                metrics = {"accuracy": (0.1 if batch == 16 else 0.05) * epoch, "train_time_s": epoch * 640.0 / batch}
                search.observe(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
            search.finish(number, TrialState.COMPLETE, search._observations.all[number].curve.points)
        for batch in (32, 128):
            search.learn_cost({"batch_size": batch}, Cost(step_time_s=640.0 / batch, steps_per_epoch=1))
        offered = [c for c in search._candidates.among([], search._rng) if c.params["batch_size"] in (32, 128)]
        search._acquisition._startup = 2
        return int(search._acquisition.choose(offered, within_s=within_s).params["batch_size"])

    assert asked(12.0) == 128


def test_a_curve_counts_by_what_it_comes_to_and_not_by_how_it_begins(spec):
    """At equal seconds the one that begins slowly and ends high, with time for all of it."""
    space = {"batch_size": [1, 2, 3, 4, 5, 6], "epochs": 8}
    search = Search(spec(space, objectives=["accuracy"], stopper="none", sampler={"n_startup_trials": 4}))
    quick, slow = [0.5] * 8, [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.85, 0.9]
    for number, (batch, accuracies) in enumerate(((1, quick), (3, quick), (4, slow), (6, slow))):
        search.queue({"batch_size": batch, "epochs": 8})
        assert search.ask(number)["batch_size"] == batch
        for epoch, accuracy in enumerate(accuracies, start=1):
            metrics = {"accuracy": accuracy + 0.01 * number, "train_time_s": 10.0 * epoch}
            search.observe(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
        search.finish(number, TrialState.COMPLETE, search._observations.all[number].curve.points)
    for batch in (2, 5):
        search.learn_cost({"batch_size": batch}, Cost(step_time_s=10.0, steps_per_epoch=1))
    assert search.ask(4)["batch_size"] == 5


def test_what_does_not_fit_keeps_its_like_away(spec):
    """From one failure and a few peaks: what would need as much as the failed one; what lies between may be tried."""
    memory = MemoryModel()
    rows = np.linspace(0, 1, 11)[:, None]
    assert not memory.too_large(rows).any()
    for at in (0, 2, 4, 6):
        memory.fits(rows[at], 100.0 * 2 ** (10 * rows[at, 0]))
    memory.fails(rows[9])
    too_large = memory.too_large(rows)
    assert too_large.tolist() == [False] * 9 + [True] * 2
    unmeasured = MemoryModel()
    unmeasured.fits(rows[2], None)
    unmeasured.fails(rows[9])
    assert unmeasured.too_large(rows).tolist() == [False] * 6 + [True] * 5


def test_a_cliff_is_learned_by_every_sampler(spec):
    """Configurations above a batch and width don't fit: after the first ones hardly any is tried."""
    space = {"batch_size": [16, 32, 64, 128, 256, 512], "model.width": [4, 8, 16, 32], "learning_rate": [0.01, 0.1, 1]}
    for sampler in ("curve_ehvi", "tpe", "nsga2", "random"):
        search, late = Search(spec(space, sampler=sampler)), 0
        for number in range(40):
            params = search.ask(number)
            need = params["batch_size"] * params["model.width"]
            points = [
                EpochPoint(
                    trial=number,
                    epoch=1,
                    metrics={"accuracy": 0.5, "train_time_s": 100.0 / need, "peak_memory_mib": need},
                )
            ]
            if need >= 4096:
                late += number >= 10
                search.finish(number, TrialState.INFEASIBLE, [])
            else:
                search.observe(points[0])
                search.finish(number, TrialState.COMPLETE, points)
        assert late <= 2, sampler


def test_what_costs_nothing_says_nothing_of_memory(spec):
    """Large ones failed, by chance all at a high learning rate: a large one at a low rate fits no better."""
    columns = candidates(
        spec({"learning_rate": [0.1, 0.2, 0.4], "optimizer": ["sgd", "adamw"], "model.width": [1, 2, 3]})
    )
    costly_d = columns.costly_d
    assert sorted(costly_d) == [0, 1, 1, 1] and len(costly_d) == columns.width
    memory, any_column = MemoryModel(np.array([0.0, 1.0])), MemoryModel()
    for model in (memory, any_column):
        model.fits(np.array([0.0, 0.0]), None)
        model.fits(np.array([0.1, 0.4]), None)
        model.fails(np.array([1.0, 0.7]))
    low_rate = np.array([[0.0, 0.7]])
    assert memory.too_large(low_rate).all()
    assert not any_column.too_large(low_rate).any()


def test_what_costs_the_same_as_a_failed_one_is_left_out_unless_it_has_fitted():
    """Also where something as large has fitted: the line can't tell the two kinds apart, the failure does."""
    memory = MemoryModel(np.array([1.0, 1.0, 0.0]))  # size, a kind that hardly matters, one that can't
    for size in (0.0, 0.5, 1.0):
        memory.fits(np.array([size, 0.0, 0.5]), 100.0 * 16**size)
    memory.fails(np.array([1.0, 1.0, 0.2]))
    rows = np.array([[1.0, 1.0, 0.9], [1.0, 0.0, 0.9]])
    assert memory.too_large(rows).tolist() == [True, False]
    memory.fits(np.array([1.0, 1.0, 0.4]), 1600.0)
    assert not memory.too_large(rows).any()


def test_equal_objectives_are_searched_all_the_same(spec):
    """Nothing to learn from: every configuration is tried once, and nothing breaks."""
    search = Search(spec(GRID))
    asked = []
    for number in range(18):
        asked.append(str(search.ask(number)))
        points = [EpochPoint(trial=number, epoch=e, metrics={"accuracy": 0.5, "train_time_s": 1.0}) for e in (1, 2)]
        for point in points:
            search.observe(point)
        search.finish(number, TrialState.COMPLETE, points)
    assert len(set(asked)) == 18


def test_a_contest_on_a_made_up_space_is_won_against_random(spec):
    """Twelve trials find more than twelve random ones, in the mean over three seeds."""
    space = {
        "batch_size": [16, 32, 64, 128, 256],
        "learning_rate": {"low": 1e-4, "high": 10.0, "log": True},
        "epochs": 4,
    }

    def reached(sampler: str, seed: int) -> float:
        search = Search(spec(space, sampler=sampler, seed=seed))
        for number in range(12):
            params = search.ask(number)
            top = 0.95 - params["batch_size"] / 2000 - 0.25 * abs(np.log10(params["learning_rate"] / 0.1))
            points = []
            for epoch in range(1, 5):
                metrics = {
                    "accuracy": max(0.1, top * (1 - 0.5**epoch)),
                    "train_time_s": epoch * 640 / params["batch_size"],
                }
                points.append(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
                if search.observe(points[-1]):
                    break
            search.finish(number, TrialState.COMPLETE, points)
        return search._observations.tracker.hypervolume - np.log10(search.reference["train_time_s"])

    ours, theirs = (np.mean([reached(sampler, seed) for seed in range(3)]) for sampler in ("curve_ehvi", "random"))
    assert ours > theirs


def test_what_is_as_large_as_a_failed_one_is_left_out_unless_as_large_has_fitted(spec):
    """Each dimension in which memory grows counts, the others don't: no line need say so."""
    memory = MemoryModel()
    for batch, width, peak_mib in ((0.0, 0.0, 100.0), (0.5, 0.0, 400.0), (1.0, 0.0, 1500.0), (0.0, 0.5, 200.0)):
        memory.fits(np.array([batch, width, 0.3]), peak_mib)
    memory.fails(np.array([0.5, 0.5, 0.9]))  # by the line it would need less than the largest that fitted
    larger, as_large, smaller = [1.0, 1.0, 0.1], [0.5, 0.5, 0.1], [0.5, 0.0, 0.9]
    assert memory.too_large(np.array([larger, as_large, smaller])).tolist() == [True, True, False]
    memory.fits(np.array([0.5, 0.5, 0.3]), 900.0)  # what failed was an accident
    assert memory.too_large(np.array([larger, as_large, [0.5, 0.5, 0.9]])).tolist()[1:] == [False, True]


def test_a_long_search_looks_closer_at_the_edge_of_memory():
    """What is a little smaller than a failed one may fit; what is as large, or larger in what matters, does not."""
    rng, memory = np.random.default_rng(0), MemoryModel()
    memory.fails(np.array([0.8, 0.5]))
    a_little_less, as_large, much_more = [0.8, 0.45], [0.8, 0.5], [1.0, 0.5]
    rows_nd = np.array([a_little_less, as_large, much_more])
    for count in range(1, 101):
        batch, other = rng.uniform(0, 0.7), rng.uniform()  # the second hardly matters
        memory.fits(np.array([batch, other]), float(np.exp(5 * batch + 0.2 * other + rng.normal(0, 0.1))))
        if count == 20:
            assert memory.too_large(rows_nd).tolist() == [True, True, True]
    assert memory.too_large(rows_nd).tolist() == [False, True, True]
    memory.fails(np.array([0.8, 0.3]))
    assert memory.too_large(rows_nd).tolist() == [True, True, True]


def test_before_data_a_whole_range_away_is_nearly_unknown():
    """Lengths that knew it would write off what was never tried: of a space of five dimensions, the other side."""
    process = GaussianProcess(5)
    sides_nd, levels_nk = np.zeros((2, 5)), np.array([[-1.0], [1.0]])
    sides_nd[1, 1:] = 1.0
    other_md = np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [100.0] * 5])  # and out of reach of all data
    _, doubt_mk = process.predict(sides_nd, levels_nk, np.zeros((2, 1)), other_md)
    assert doubt_mk[0, 0] > 0.9 * doubt_mk[1, 0]
