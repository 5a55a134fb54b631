"""The search: ask, observe, finish; what is queued first; the same for every sampler."""

import warnings
from collections import Counter

import pytest
from optuna.trial import TrialState as OptunaState
from searched import SAMPLERS, SMALL, run, trials_of

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.importances import importances
from tune_cnn.search.samplers import OURS
from tune_cnn.search.search import ASKS, Past, Search
from tune_cnn.states import TrialState

OBJECTIVES = (["accuracy"], ["accuracy", "train_time_s"], ["accuracy", "train_time_s", "peak_memory_mib"])


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=len)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_searches_the_joint_space(spec, curve, name, objectives):
    """With 1, 2 and 3 objectives, constraints, failures and trials without memory; no warning reaches the user."""
    whole = spec(
        objectives=objectives,
        constraints={"train_time_s": {"max": 15}, "images_per_s": {"min": 1}},
        sampler={"name": name, **SMALL.get(name, {})},
    )
    if name == "gp":
        import torch  # noqa: F401  (optuna imports it on first use, with warnings of its own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = Search(whole)
        ended = run(search, curve, 15)
        shares = importances(whole, ended)
    states = Counter(t.state for t in trials_of(search))
    assert (states[OptunaState.COMPLETE], states[OptunaState.PRUNED]) == (9, 3)
    passed_over = states[OptunaState.FAIL] - 3  # proposals that were tried before, or are expected not to fit
    assert 0 <= passed_over <= ASKS * 15
    assert passed_over == 0 or name != OURS
    for past in ended:
        whole.configuration(past.params)  # a valid configuration
        assert ("loader_workers" in past.params) == (past.params["loader"] != "device")
    assert set(shares) == set(objectives)
    for share in shares.values():
        assert set(share) <= set(whole.searched)
        assert sum(share.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_decides_what_is_proposed(spec, curve, name):
    """The same seed and the same results give the same proposals; another seed gives others."""

    def proposals(seed: int):
        small = {"batch_size": [32, 64, 128], "learning_rate": {"low": 0.01, "high": 1.0, "log": True}}
        whole = spec(small, seed=seed, sampler={"name": name, **SMALL.get(name, {})})
        return [past.params for past in run(Search(whole), curve, 8)]

    assert proposals(3) == proposals(3)
    assert proposals(3) != proposals(4)


def test_queued_configurations_are_asked_first_and_each_once(spec, caplog):
    """In their order; what lies outside is said and left out; what was tried is not tried again."""
    whole = spec({"batch_size": [32, 64, 128], "optimizer": ["sgd", "adamw"], "momentum": [0.5, 0.9]})
    tried = {"batch_size": 32, "optimizer": "sgd", "momentum": 0.5}
    warm = [{"batch_size": 128, "optimizer": "adamw"}, {"batch_size": 64, "optimizer": "sgd", "momentum": 0.9}]
    search = Search(whole, past=[Past(params=tried, state=TrialState.FAILED)])
    assert all(search.queue(params) for params in [warm[0], warm[0], tried, warm[1]])
    assert not search.queue({"batch_size": 33, "optimizer": "adamw"})
    assert "batch_size" in caplog.text
    assert [search.ask(1), search.ask(2)] == warm
    search.ask(3)
    assert len(trials_of(search)) == 4


def test_a_resumed_trial_leaves_the_queue(spec):
    """A warm configuration that is being trained already is not handed out a second time."""
    search = Search(spec({"batch_size": [32, 64, 128]}))
    search.queue({"batch_size": 64})
    search.queue({"batch_size": 128})
    search.resume(0, {"batch_size": 64})
    assert search.ask(1) == {"batch_size": 128}


def test_the_last_point_is_what_a_trial_is_worth(spec, curve):
    """By epoch, not by arrival; maximised and minimised as the table says."""
    search = Search(spec())
    points = curve(0, search.ask(0))
    search.finish(0, TrialState.STOPPED, list(reversed(points)))
    assert trials_of(search)[0].values == [points[-1].metrics["accuracy"], points[-1].metrics["train_time_s"]]
    assert search._optuna.directions == ["MAXIMIZE", "MINIMIZE"]


def test_of_points_that_keep_the_constraints_the_last_is_told(spec, curve):
    """Not the one past the latest time; where none keeps them, the last of all."""
    search = Search(spec(constraints={"train_time_s": {"max": 2.5}}))
    for number, late in ((0, 1.0), (1, 100.0)):
        search.ask(number)
        metrics = [{"accuracy": 0.1 * e, "train_time_s": late * e} for e in (1, 2, 3)]
        points = [EpochPoint(trial=number, epoch=e, metrics=m) for e, m in enumerate(metrics, start=1)]
        search.finish(number, TrialState.STOPPED, points)
    assert [t.values[1] for t in trials_of(search)] == [2.0, 300.0]


@pytest.mark.parametrize(
    ("state", "metrics", "told"),
    [
        (TrialState.COMPLETE, {"accuracy": 0.5, "train_time_s": 3.0}, OptunaState.COMPLETE),
        (TrialState.COMPLETE, {"accuracy": float("nan"), "train_time_s": 3.0}, OptunaState.FAIL),
        (TrialState.COMPLETE, {"accuracy": 0.5, "train_time_s": float("inf")}, OptunaState.FAIL),
        (TrialState.COMPLETE, {"accuracy": 0.5}, OptunaState.FAIL),
        (TrialState.COMPLETE, None, OptunaState.FAIL),
        (TrialState.FAILED, {"accuracy": 0.5, "train_time_s": 3.0}, OptunaState.FAIL),
        (TrialState.INFEASIBLE, None, OptunaState.PRUNED),
    ],
)
def test_a_trial_without_a_whole_result_is_never_left_running(spec, state, metrics, told):
    """NaN, infinite and missing objectives fail; out of memory is a violated constraint."""
    search = Search(spec())
    search.ask(0)
    search.finish(0, state, [EpochPoint(trial=0, epoch=1, metrics=metrics)] if metrics is not None else [])
    (trial,) = trials_of(search)
    assert trial.state is told
    assert (trial.constraints.get("memory", 0) > 0) == (state is TrialState.INFEASIBLE)
    search.finish(0, TrialState.COMPLETE, [])  # a second end of the same trial changes nothing
    assert trial.state is told


def test_constraints_are_told_as_shares_of_their_limits(spec):
    """Above 0 is broken; both sides count; a metric that was not measured breaks its constraint."""
    whole = spec(
        constraints={
            "peak_memory_mib": {"max": 100},
            "val_loss": {"min": 1, "max": 2},
            "images_per_s": {"min": 10},
            "skipped_steps": {"max": 0},
        }
    )
    search = Search(whole)
    search.ask(0)
    metrics = {"accuracy": 0.5, "train_time_s": 3.0, "peak_memory_mib": 150, "val_loss": 1.5, "skipped_steps": 2}
    search.finish(0, TrialState.COMPLETE, [EpochPoint(trial=0, epoch=1, metrics=metrics)])
    assert trials_of(search)[0].constraints == pytest.approx(
        {"peak_memory_mib": 0.5, "val_loss": -0.25, "images_per_s": 1.0, "skipped_steps": 2.0}
    )


def test_a_space_without_a_choice_can_be_asked(spec, curve):
    """An export searched again: one configuration, every trial the same."""
    search = Search(spec({"batch_size": 32, "epochs": 1}))
    assert [search.ask(n) for n in range(3)] == [{"batch_size": 32, "epochs": 1}] * 3
    for number in range(3):
        search.finish(number, TrialState.COMPLETE, curve(number, {}))


def test_a_space_without_a_choice_that_does_not_fit_can_be_asked_again(spec):
    """The search's end says what failed; the next trial may have more memory beside it."""
    for sampler in ("curve_ehvi", "tpe"):
        search = Search(spec({"epochs": 2, "batch_size": 64}, sampler=sampler))
        for number in range(3):
            assert search.ask(number)["batch_size"] == 64
            search.finish(number, TrialState.INFEASIBLE, [])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_small_space_is_tried_evenly(spec, name):
    """Every configuration before any comes again, and then those that came least often; in no order of the grid."""
    space = {"batch_size": [32, 64, 128], "learning_rate": [0.01, 0.03, 0.1], "epochs": 2}
    search = Search(spec(space, stopper="none", sampler={"name": name, **SMALL.get(name, {})}))
    grid = [(batch, rate) for batch in space["batch_size"] for rate in space["learning_rate"]]
    asked = []
    for number in range(18):
        params = search.ask(number)
        asked.append((params["batch_size"], params["learning_rate"]))
        metrics = {"accuracy": 0.9 - params["learning_rate"], "train_time_s": 100.0 / params["batch_size"]}
        point = EpochPoint(trial=number, epoch=1, metrics=metrics)
        search.observe(point)
        search.finish(number, TrialState.COMPLETE, [point])
    assert set(asked[:9]) == set(asked[9:]) == set(grid)
    assert asked[9:] != grid
