"""The search: ask, observe, finish; rebuilt from what is past; the same for every sampler."""

import warnings
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from tune_cnn.errors import SpecError
from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.hardware_share import time_ratio
from tune_cnn.search.importances import importances
from tune_cnn.search.samplers import OURS, build_sampler
from tune_cnn.search.search import ASKS, Past, Search
from tune_cnn.spec.costs import Cost
from tune_cnn.spec.parts import SAMPLER_ARGUMENTS
from tune_cnn.states import TrialState

SAMPLERS = list(SAMPLER_ARGUMENTS)
OBJECTIVES = (["accuracy"], ["accuracy", "train_time_s"], ["accuracy", "train_time_s", "peak_memory_mib"])
SMALL = {"tpe": {"n_startup_trials": 5}, "gp": {"n_startup_trials": 5}, "nsga2": {"population_size": 5}}


def trials_of(search: Search) -> list[optuna.trial.FrozenTrial]:
    return search._optuna.trials


def run(search: Search, curve, count: int, first: int = 0) -> list[Past]:
    """Trials two at a time: one in five fails, one runs out of memory, one lacks its constraint's metric."""
    ended, running = [], []
    for number in range(first, first + count):
        running.append((number, search.ask(number)))
        if len(running) == 2 or number == first + count - 1:
            ended += [end(search, curve, *running.pop(0)) for _ in range(len(running) if number % 2 else 1)]
    ended += [end(search, curve, *one) for one in running]
    return ended


FAILURES = (TrialState.FAILED, TrialState.INFEASIBLE)


def end(search: Search, curve, number: int, params) -> Past:
    points, state = curve(number, params), FAILURES[number % 5] if number % 5 < 2 else None
    if state is None:
        state = TrialState.COMPLETE if number % 2 else TrialState.STOPPED
        if number % 5 == 4:
            metrics = {k: v for k, v in points[-1].metrics.items() if k != "images_per_s"}
            points = [*points[:-1], EpochPoint(trial=number, epoch=2, metrics=metrics)]
    else:
        points = points[: number % 2]
    for point in points:
        assert search.observe(point) is False
    search.finish(number, state, points)
    return Past(params=params, state=state, points=points)


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


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_rebuilt_from_its_past_knows_what_the_first_one_knew(spec, curve, name):
    """The same trials, each told as a point of its curve; it goes on without repeating itself; nothing runs on.

    Which point of a curve stands for it is judged anew, by the front of all that is past.
    """
    whole = spec(constraints={"train_time_s": {"max": 15}}, sampler={"name": name, **SMALL.get(name, {})})
    first = Search(whole)
    count = 8 if name == "gp" else 12  # each of its proposals takes a second
    past = run(first, curve, count)
    again = Search(whole, past=past)
    known, rebuilt = trials_of(first), trials_of(again)
    known = [t for t in known if t.state is not OptunaState.FAIL or name == OURS]  # without proposals passed over
    rebuilt = [t for t in rebuilt if t.state is not OptunaState.FAIL or name == OURS]
    facts, facts_again = (
        sorted(repr((t.state, t.params, t.distributions, sorted(t.constraints))) for t in trials)
        for trials in (known, rebuilt)
    )
    assert facts == facts_again
    reached = [[p.metrics["accuracy"], p.metrics["train_time_s"]] for one in past for p in one.points]
    assert all(t.values in reached for t in rebuilt if t.state is OptunaState.COMPLETE)
    later = run(again, curve, 3 if name == "gp" else 6, first=count)
    assert all(new.params not in [p.params for p in past] for new in later)
    assert not [t for t in trials_of(again) if not t.state.is_finished()]


def test_a_rebuilt_genetic_search_breeds_from_its_past(spec, curve):
    """Past trials belong to generations: the next one is not drawn at random again."""
    whole = spec(sampler={"name": "nsga2", "population_size": 4})
    past = run(Search(whole), curve, 15)  # 9 with a result: two generations and one trial
    again = Search(whole, past=past)
    again.ask(15)
    key = optuna.samplers.NSGAIISampler._get_generation_key()
    assert trials_of(again)[-1].system_attrs[key] == 2


def test_an_unfinished_trial_is_taken_up_with_its_parameters(spec, curve):
    """Its end is told as that of any other; the proposals beside it are not those of the first search."""
    whole = spec(sampler={"name": "random"})
    first = Search(whole)
    unfinished = [first.ask(number) for number in range(2)]
    again = Search(whole)
    for number, params in enumerate(unfinished):
        again.resume(number, params)
    fresh = again.ask(2)
    assert fresh not in unfinished
    for number, params in enumerate([*unfinished, fresh]):
        again.finish(number, TrialState.COMPLETE, curve(number, params))
    assert [t.state for t in trials_of(again)] == [OptunaState.COMPLETE] * 3
    assert trials_of(again)[0].params == trials_of(first)[0].params


def test_an_unfinished_trial_outside_the_space_does_no_harm(spec, curve):
    """Its points count in the store; the sampler is not told."""
    search = Search(spec())
    search.resume(0, {"batch_size": 7})
    search.finish(0, TrialState.COMPLETE, curve(0, {}))
    assert not trials_of(search)


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


def test_importances_find_what_matters(spec, curve):
    """The batch decides the time of the made-up curves; before two results there are none."""
    whole = spec({"batch_size": [32, 64, 128, 256], "weight_decay": {"low": 0.0, "high": 0.1}})
    drawn = Search(whole.model_copy(update={"sampler": spec(sampler={"name": "random"}).sampler}))
    asked = [drawn.ask(number) for number in range(40)]
    past = [Past(params=params, state=TrialState.COMPLETE, points=curve(n, params)) for n, params in enumerate(asked)]
    assert importances(whole, past[:1]) == {}
    found = importances(whole, past)
    assert found["train_time_s"]["batch_size"] > 0.8
    assert [list(shares) for shares in found.values()] == [list(whole.searched)] * 2  # the same in every process
    assert importances(spec({"batch_size": 32}), past) == {}


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


def test_each_share_of_a_gpu_has_its_own_costs_memory_and_trials(spec):
    """What did not fit on a quarter may fit on the whole; what was tried on one may be tried on the other."""
    space = {"batch_size": [64, 128, 256], "epochs": 1}

    metrics = {"accuracy": 0.5, "train_time_s": 9.0, "peak_memory_mib": 50.0}
    point = EpochPoint(trial=0, epoch=1, metrics=metrics)
    past = [
        Past(params={"batch_size": 64, "epochs": 1}, state=TrialState.COMPLETE, points=[point], gpu_share=0.25),
        Past(params={"batch_size": 128, "epochs": 1}, state=TrialState.INFEASIBLE, gpu_share=0.25),
    ]
    first = Search(spec(space))
    first.begin_phase(0.25)
    for number, one in enumerate(past):
        first.queue(one.params)
        assert first.ask(number)["batch_size"] == one.params["batch_size"]
        for seen in one.points:
            first.observe(seen)
        first.finish(number, one.state, one.points)
    for search in (first, Search(spec(space), past=past)):
        search.begin_phase(0.25)
        assert search.epoch_time_s({"batch_size": 64, "epochs": 1}) == 9.0
        large = [search._candidates.row({"batch_size": size}) for size in (128, 256)]
        assert search._here.memory.too_large(np.stack(large)).all()
        search.begin_phase(1.0)
        assert search.epoch_time_s({"batch_size": 64, "epochs": 1}) is None
        assert not search._here.memory.too_large(np.stack(large)).any()
        assert {search.ask(number)["batch_size"] for number in (7, 8, 9)} == {64, 128, 256}


def test_less_power_is_another_part_of_the_hardware(spec):
    """What an epoch takes at 200 W says nothing of 300 W, and what was tried there may be tried here."""
    space = {"batch_size": [64, 128], "epochs": 1}
    point = EpochPoint(trial=0, epoch=1, metrics={"accuracy": 0.5, "train_time_s": 9.0})
    params = {"batch_size": 64, "epochs": 1}
    past = Past(params=params, state=TrialState.COMPLETE, points=[point], gpu_share=1.0, power_limit_w=200.0)
    search = Search(spec(space), past=[past])
    search.begin_phase(1.0, 300.0)
    assert search.epoch_time_s(params) is None
    assert {search.ask(number)["batch_size"] for number in (7, 8)} == {64, 128}
    search.begin_phase(1.0, 200.0)
    assert search.epoch_time_s(params) == 9.0


def test_another_type_is_another_part_of_the_hardware(spec):
    """What an epoch takes on A says nothing of B until both are known; then how much faster one is, is known."""
    params = [{"batch_size": size, "epochs": 1} for size in (64, 128)]
    points = [EpochPoint(trial=at, epoch=1, metrics={"accuracy": 0.5, "train_time_s": 8.0}) for at in range(2)]
    past = [
        Past(params=one, state=TrialState.COMPLETE, points=[point], accelerator="A")
        for one, point in zip(params, points, strict=True)
    ]
    search = Search(spec({"batch_size": [64, 128], "epochs": 1}), past=past)
    search.begin_phase(0.0, None, "B")
    assert search.epoch_time_s(params[0]) is None
    on_a, on_b = search._on((0.0, None, "A")), search._here
    assert time_ratio(on_a.costs, on_b.costs) == 1.0
    search.learn_cost(params[0], Cost(step_time_s=0.2, steps_per_epoch=10))
    assert time_ratio(on_a.costs, on_b.costs) == pytest.approx(0.25)
    assert search._acquisition._time_shifts(search._observations.all) == pytest.approx([np.log10(0.25)] * 2)


@pytest.mark.parametrize("sampler", ["curve_ehvi", "random"])
def test_what_a_type_cannot_train_is_not_asked_for_there(spec, sampler):
    """A queued configuration waits for a type that can."""
    search = Search(spec({"precision": ["fp32", "bf16"], "batch_size": [64, 128]}, sampler=sampler))
    search.queue({"precision": "bf16", "batch_size": 64})
    search.begin_phase(0.0, None, "A", possible={"precision": ["fp32"]})
    assert {search.ask(number)["precision"] for number in range(6)} == {"fp32"}
    search.begin_phase(0.0, None, "B")
    assert search.ask(6) == {"precision": "bf16", "batch_size": 64}


def test_arguments_reach_the_sampler_and_wrong_ones_are_refused(spec):
    """A multivariate of false takes the groups along; what Optuna refuses is a SpecError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_sampler("tpe", {"multivariate": False}, seed=0)
        for name in SAMPLERS:
            build_sampler(name, {}, seed=0)
    assert build_sampler("nsga2", {"population_size": 7}, seed=0).population_size == 7
    with pytest.raises(SpecError, match="sampler: random refuses"):
        build_sampler("random", {"population_size": 7}, seed=0)
    with pytest.raises(SpecError, match="sampler: qmc refuses"):
        build_sampler("qmc", {"qmc_type": "lattice"}, seed=0)
    with pytest.raises(SpecError, match="sampler: curve_ehvi takes no population_size"):
        spec(sampler={"population_size": 7})
