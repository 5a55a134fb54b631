"""A space as Optuna sees it: what it draws, what it takes back, and what exists beside what."""

import warnings
from itertools import pairwise

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tune_cnn.search.space import SearchSpace
from tune_cnn.spec.space import parse_space

KINDS = {
    "batch_size": [32, 64, 128, 256],  # rising numbers
    "gradient_clip": [5.0, 0.0, 1.0],  # numbers in no order
    "epochs": [2, 4],  # two numbers
    "channels_last": [True, False],
    "precision": ["fp32", "bf16"],
    "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
    "label_smoothing": {"low": 0.0, "high": 0.25, "step": 0.1},  # the last step ends at 0.2
    "momentum": {"low": 0.5, "high": 0.99},
    "lr_base_batch": {"low": 32, "high": 100, "step": 32},  # ends at 96
    "lr_rule": ["none", "sqrt", "linear"],
    "model.width": {"low": 1, "high": 64, "log": True},
    "model.sizes": [[1, 2], [3, 4], [5]],
    "model.mixed": [None, "none", 1, {"a": [1]}],
    "weight_decay": 1e-4,
}


def drawn(space: SearchSpace, count: int, seed: int = 0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [(trial, space.suggest(trial)) for trial in (study.ask() for _ in range(count))]


@pytest.fixture
def kinds() -> SearchSpace:
    return SearchSpace(parse_space(KINDS))


def test_what_is_drawn_encodes_to_what_the_sampler_drew(kinds):
    """For every kind of dimension, lists and mappings as values among them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for trial, params in drawn(kinds, 60):
        encoded, distributions = kinds.encode(params)
        assert encoded == trial.params
        assert distributions == trial.distributions
        optuna.trial.create_trial(params=encoded, distributions=distributions, value=0.0)  # Optuna takes it back
        assert params["model.sizes"] in ([1, 2], [3, 4], [5])
        assert type(params["channels_last"]) is bool and type(params["batch_size"]) is int
        assert params["weight_decay"] == 1e-4


def test_nothing_drawn_leaves_the_space_and_no_warning_is_given(kinds):
    """Steps that don't reach the end stop short of it in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        all_drawn = [params for _, params in drawn(kinds, 200)]
    assert {round(p["label_smoothing"], 9) for p in all_drawn} == {0.0, 0.1, 0.2}
    assert {p["lr_base_batch"] for p in all_drawn if "lr_base_batch" in p} == {32, 64, 96}
    assert all(1e-3 <= p["learning_rate"] <= 1.0 and 1 <= p["model.width"] <= 64 for p in all_drawn)
    assert {p["epochs"] for p in all_drawn} == {2, 4}


def test_numbers_of_a_choice_are_neighbours_in_their_order(kinds):
    """Three or more are an integer index in rising order; two, and what is no number, are categories."""
    _, distributions = kinds.encode(next(p for _, p in drawn(kinds, 50) if p["lr_rule"] != "none"))
    assert distributions["batch_size"] == IntDistribution(0, 3)
    assert distributions["gradient_clip"] == IntDistribution(0, 2)
    codes = [kinds.encode({**drawn(kinds, 1)[0][1], "gradient_clip": v})[0]["gradient_clip"] for v in (0.0, 1.0, 5.0)]
    assert all(a < b for a, b in pairwise(codes))
    for key in ("epochs", "channels_last", "precision", "model.sizes", "model.mixed"):
        assert isinstance(distributions[key], CategoricalDistribution), key
    assert isinstance(distributions["learning_rate"], FloatDistribution) and distributions["learning_rate"].log
    assert isinstance(distributions["model.width"], IntDistribution) and distributions["model.width"].log


def test_a_key_exists_only_beside_the_values_that_give_it_a_meaning():
    """Searched or fixed, child or parent, in whatever order they were written; a default counts as fixed."""
    space = SearchSpace(
        parse_space(
            {
                "loader_workers": {"low": 1, "high": 3},
                "loader": ["device", "stream"],
                "momentum": 0.8,
                "optimizer": ["sgd", "adamw"],
                "nesterov": [True, False],
            }
        )
    )
    for _, params in drawn(space, 50):
        assert ("loader_workers" in params) == (params["loader"] == "stream")
        assert ("momentum" in params) == ("nesterov" in params) == (params["optimizer"] == "sgd")
        space.encode(params)
    assert all("momentum" in p for _, p in drawn(SearchSpace(parse_space({"momentum": [0.8, 0.9]})), 3))
    fixed = SearchSpace(parse_space({"loader": "stream", "loader_workers": [1, 2]}))
    assert all("loader_workers" in p for _, p in drawn(fixed, 3))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 48),
        ("batch_size", "64"),
        ("learning_rate", 2.0),
        ("learning_rate", "fast"),
        ("learning_rate", True),
        ("label_smoothing", 0.15),
        ("label_smoothing", 0.25),
        ("model.width", 2.5),
        ("lr_base_batch", 100),
        ("model.sizes", [1]),
        ("channels_last", 1),
        ("precision", None),
    ],
)
def test_a_configuration_outside_the_space_is_refused(kinds, key, value):
    """With the key that is outside."""
    params = next(p for _, p in drawn(kinds, 50) if p["lr_rule"] != "none")
    kinds.encode(params)
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        kinds.encode({**params, key: value})


def test_a_configuration_that_lacks_a_key_is_refused_and_what_is_fixed_is_the_spaces_to_say(kinds):
    """Missing keys are named; values of keys that the space fixes, or doesn't know, are of no account."""
    params = drawn(kinds, 1)[0][1]
    with pytest.raises(ValueError, match="momentum is missing"):
        kinds.encode({k: v for k, v in params.items() if k != "momentum"})
    assert kinds.encode({**params, "weight_decay": 3.0, "unknown": 1}) == kinds.encode(params)
