"""Which configurations cost the same."""

import json

import pytest

from tune_cnn.spec.costs import Cost, cost_key

BASE = {"batch_size": 64, "learning_rate": 0.1, "loader": "batched", "loader_workers": 1, "model.width": 16}


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 0.3}, {"epochs": 30}, {"schedule": "one_cycle"}, {"weight_decay": 0.0}, {"precision": "fp32"},
     {"strategies.s3pool": False}, {"norm_lr_ratio": 64.0}, {"decay_all": True}, {"decoupled": True}],
    ids=str,
)  # fmt: skip
def test_what_changes_numbers_alone_costs_the_same(change: dict[str, object]) -> None:
    """A learning rate, a horizon or a default said aloud leaves the key as it is."""
    assert cost_key({**BASE, **change}) == cost_key(BASE)


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 65}, {"loader_workers": 2}, {"precision": "bf16"}, {"model.width": 17}, {"optimizer": "adamw"},
     {"strategies.s3pool": True}, {"gradient_clip": 1.0}, {"training.depth": 3}, {"augment": "crop"}],
    ids=str,
)  # fmt: skip
def test_what_changes_the_work_has_a_key_of_its_own(change: dict[str, object]) -> None:
    """Batch, loader, precision, model, optimizer, strategies and arguments we don't know may each cost."""
    assert cost_key({**BASE, **change}) != cost_key(BASE)


def test_clipping_costs_the_same_whatever_its_limit() -> None:
    """Only whether gradients are clipped decides."""
    assert cost_key({"gradient_clip": 1.0}) == cost_key({"gradient_clip": 5.0})


def test_a_key_without_meaning_is_not_counted() -> None:
    """The device loader has no workers: what stands there by mistake changes nothing."""
    assert cost_key({"loader": "device", "loader_workers": 3}) == cost_key({})


def test_a_key_reads_back_as_the_parameters_that_cost() -> None:
    """A key is JSON whose own key it is."""
    key = cost_key({**BASE, "gradient_clip": 2.0})
    assert cost_key(json.loads(key)) == key


def test_an_epoch_takes_its_steps() -> None:
    """What isn't known of a step isn't known of an epoch either."""
    assert Cost(step_time_s=0.5, steps_per_epoch=8).epoch_time_s == 4.0
    assert Cost(steps_per_epoch=8).epoch_time_s is None
