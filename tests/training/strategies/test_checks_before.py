"""What a spec can't have with a strategy is told before any trial starts, in one line that names the key."""

from typing import Any

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import parse_spec
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategy


def spec_with(name: str, knobs: dict[str, Any], **space: Any) -> Any:
    spec = parse_spec(
        {
            "study": "s",
            "data": {"name": "digits"},
            "model": {"name": "small_cnn"},
            "objectives": ["accuracy", "train_time_s"],
            "space": {"strategies": {name: knobs}, **space},
            "budget": {"trials": 1},
        }
    )
    return spec.model_copy(update={"space": check_strategies(spec.space, cards_of([name]))})


@pytest.mark.parametrize(
    ("name", "knobs", "space", "told"),
    [
        ("info_batch", {}, {"epochs": [2, 8]}, r"space\.epochs: info_batch needs 3 epochs at least, got 2"),
        ("batch_growth", {}, {"schedule": ["step", "plateau"]}, r"space\.schedule: batch_growth .* got plateau"),
        ("stochastic_depth", {}, {"compile": [False, True]}, r"space\.compile: stochastic_depth .* set it to false"),
        ("sparse_gradients", {}, {"compile": True}, r"space\.compile: sparse_gradients: is a simulation"),
        ("progressive_resizing", {}, {"epochs": [1, 4]}, r"space\.epochs: progressive_resizing needs 2 epochs"),
        ("efficient_train", {}, {"epochs": 1}, r"space\.epochs: efficient_train needs 2 epochs"),
        ("layer_freezing", {}, {"epochs": 1}, r"space\.epochs: layer_freezing needs 2 epochs"),
    ],
)
def test_a_spec_that_no_trial_could_train_is_refused(name, knobs, space, told):
    with pytest.raises(SpecError, match=told):
        find_strategy(name).check(spec_with(name, knobs, **space), None)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("ema", {"decay": 1.0}),
        ("info_batch", {"drop": 0.95}),
        ("selective_backprop", {"keep": 0.0}),
        ("gradient_approximation", {"otherwise": "none"}),
        ("sparse_gradients", {"sparsity": [0.5, 1.0]}),
        ("stochastic_depth", {"survival": 1.5}),
        ("ssf", {"structure": "learned"}),
    ],
)
def test_a_knob_out_of_range_is_refused_with_what_it_may_be(name, knobs):
    (knob,) = knobs
    with pytest.raises(SpecError, match=rf"space\.strategies\.{name}\.{knob}: must be"):
        spec_with(name, knobs, epochs=4)


def test_what_may_be_passes():
    for name in ("info_batch", "batch_growth", "stochastic_depth", "sparse_gradients"):
        find_strategy(name).check(spec_with(name, {}, epochs=4, schedule="step"), None)
    find_strategy("batch_growth").check(spec_with("batch_growth", {"by": "noise"}, schedule="plateau"), None)
