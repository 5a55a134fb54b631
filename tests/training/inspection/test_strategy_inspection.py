"""What is wrong with a spec's strategies is said before the search: each is tried on the model and the images."""

from typing import Any

import pytest
import torch

from tune_cnn.errors import SpecError
from tune_cnn.spec import parse_spec
from tune_cnn.training.inspection.node import inspect_node
from tune_cnn.training.strategies.framework.registry import find_strategies


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspection")

    def inspect(strategies: dict[str, Any], *, model: str = "small_cnn", ranks: int = 1, **space: Any):
        spec = parse_spec(
            {
                "study": "s",
                "data": {"name": "digits"},
                "model": {"name": model},
                "space": {"batch_size": [256, 512], "strategies": strategies, **space},
                "resources": {"ranks": ranks, "cpus_per_trial": ranks},
                "budget": {"trials": 1},
            }
        )
        return inspect_node(spec, cuda=False, cache_dir=str(folder))

    return inspect


def test_the_cards_of_all_that_are_named_come_back(inspected):
    """Those that are off as well; torch's generator is left as it was."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = inspected({"weight_norm": {}, "s3pool": False, "ghost_batch_norm": {"use": True}})
    assert set(found.strategies) == {"weight_norm", "s3pool", "ghost_batch_norm"}
    assert found.strategies["weight_norm"] == find_strategies()["weight_norm"].card()
    assert torch.equal(torch.get_rng_state(), before)
    assert inspected({}).strategies == {}


@pytest.mark.parametrize(
    ("strategies", "settings", "message"),
    [
        ({"s3pol": {}}, {}, "space.strategies: unknown strategy 's3pol'; did you mean 's3pool'?"),
        ({"s3pool": {"grids": 8}}, {}, "space.strategies.s3pool: unknown knob 'grids'; did you mean 'grid'?"),
        ({"s3pool": {"grid": 1}}, {}, "space.strategies.s3pool.grid: must be a whole number from 2 to 64, got 1"),
        ({"s3pool": {}}, {"model": "resnet20"}, "space.strategies: s3pool: the model has no MaxPool2d layer with a"),
        (
            {"ghost_batch_norm": {"size": [64, 200]}},
            {},
            "space.strategies.ghost_batch_norm.size: a ghost batch must be at most half of a rank's smallest",
        ),
        ({"ghost_batch_norm": {}}, {"ranks": 2}, "rank's smallest batch of 128 images, got 128; lower it"),
        (
            {"regime_adaptation": {"base_batch": 256}},
            {},
            "space.strategies.regime_adaptation.base_batch: must be less than every batch of the space",
        ),
        (
            {"net2net": {"start_width": [0.5, 0.25]}},
            {"model.width": [8, 6]},
            "start_width=0.25 of the 6 channels of 0.weight are 1.5: growth from them doesn't divide",
        ),
        ({"weight_norm": True, "net2net": {}}, {}, "weight_norm and net2net can't be on together: net2net changes"),
    ],
    ids=str,
)
def test_what_no_trial_could_use_is_refused(inspected, strategies, settings, message):
    """Names, knobs, pairs, and what finds nothing to act on in this model or these batches."""
    with pytest.raises(SpecError) as refused:
        inspected(strategies, **settings)
    assert message in str(refused.value)


def test_one_that_is_off_is_not_tried(inspected):
    """Knowing its name is enough."""
    inspected({"ghost_batch_norm": False}, batch_size=4)
