"""Fine-tuning: what rests, what learns at which rate, and when the backbone joins the head."""

import logging
from dataclasses import replace

import pytest
import torch
from ranks import digits_job, kept, leave_at, same_bits, train

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec.dimensions import Fixed
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.messages import LeftEpoch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def begun(job) -> tuple[RankTraining, dict[str, torch.Tensor]]:
    rank = RankTraining()
    rank.begin(job)
    return rank, {name: value.clone() for name, value in rank._current.model.state_dict().items()}


def changed(rank: RankTraining, before: dict[str, torch.Tensor]) -> set[str]:
    now = rank._current.model.state_dict()
    return {name for name in before if not torch.equal(before[name], now[name])}


def test_frozen_stages_keep_weights_and_statistics(tmp_path, caplog):
    """To the bit, through training and evaluation; the others learn, and less arithmetic is counted."""
    caplog.set_level(logging.INFO)
    rank, before = begun(digits_job(tmp_path, frozen_stages=2, epochs=2))
    results = [rank.train_epoch(), rank.train_epoch()]
    found = changed(rank, before)
    rank.end()
    assert found == {"7.weight", "8.weight", "8.bias", "12.weight", "12.bias", *(f"8.{one}" for one in STATISTICS)}
    whole, _ = train(RankTraining(), digits_job(tmp_path, epochs=2))
    assert results[-1].metrics["train_gflops"] < whole[-1].metrics["train_gflops"]
    assert "fine-tuning: stages 0+1, 3+4, 7+8, head 12; frozen: 0+1, 3+4" in caplog.text


def test_the_head_learns_alone_first(tmp_path):
    """Then all but what is frozen, with an optimizer that remembers nothing of before."""
    rank, before = begun(digits_job(tmp_path, head_epochs=1, frozen_stages=1, epochs=2))
    rank.train_epoch()
    assert changed(rank, before) == {"12.weight", "12.bias"}
    rank.train_epoch()
    found = changed(rank, before)
    rank.end()
    assert {"3.weight", "4.weight", "7.weight", "8.running_mean", "12.bias"} <= found
    assert not found & {"0.weight", "1.weight", "1.running_mean"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_trial_ends_with_the_same_bits_before_and_after_the_backbone_joins(optimizer, tmp_path):
    """Left within each of its epochs once."""
    settings = {"optimizer": optimizer, "learning_rate": 0.01, "head_epochs": 1, "epochs": 2, "layer_decay": 0.7}
    job = digits_job(tmp_path, **settings, job=kept(tmp_path))
    _, weights = train(RankTraining(), replace(job, checkpoint_dir=None))
    for trained in range(2):
        rank = RankTraining()
        rank.begin(job)
        if trained:
            rank.train_epoch()
        leave_at(rank, 3)
        assert isinstance(rank.train_epoch(), LeftEpoch)
        rank.end()
    rank = RankTraining()
    rank.begin(job)
    assert rank.train_epoch().done
    resumed = rank.weights()
    rank.end()
    assert same_bits(resumed, weights)


def test_rates_fall_from_the_head_to_the_first_stage(tmp_path):
    """The head's is the schedule's; each stage before it has `layer_decay` of the next, all `backbone_lr_ratio`."""
    rank, _ = begun(digits_job(tmp_path, layer_decay=0.5, backbone_lr_ratio=0.1, norm_lr_ratio=4.0))
    training = rank._current._training
    named = {id(p): name for name, p in training.model.named_parameters()}
    ratios = {named[id(p)]: g["lr_ratio"] for g in training._train_state.optimizer.param_groups for p in g["params"]}
    rank.end()
    expected = {"12.weight": 1, "12.bias": 1, "7.weight": 0.05, "8.weight": 0.2, "3.weight": 0.025, "0.weight": 0.0125}
    assert {name: ratios[name] for name in expected} == pytest.approx(expected)
    assert ratios["1.bias"] == pytest.approx(0.05) and len(ratios) == 11


def test_more_frozen_stages_than_there_are_is_an_error(tmp_path):
    """It says how many there are."""
    with pytest.raises(TrialError, match=r"frozen_stages: the model has 3 stages before its head \(0\+1, .*got 4"):
        RankTraining().begin(digits_job(tmp_path, frozen_stages=4))


@pytest.mark.parametrize(
    ("space", "strategy"),
    [
        ({"frozen_stages": 1}, "net2net"),
        ({"head_epochs": 1}, "layer_freezing"),
        ({"optimizer": "muon"}, "prunetrain"),
        ({"optimizer": "schedule_free_sgd"}, "ema"),
        ({"optimizer": "sam"}, "info_batch"),
        ({"accumulate": 2}, "isgd"),
    ],
)
def test_strategies_that_can_not_stand_beside_are_refused(space, strategy):
    """By the strategy's name and the key's, before any trial."""
    (key, value), *_ = space.items()
    dimensions = {key: Fixed(value=value), f"strategies.{strategy}": Fixed(value=True)}
    with pytest.raises(SpecError, match=f"space.strategies: {strategy} can't be on with {key}="):
        check_strategies(dimensions, cards_of([strategy]))
