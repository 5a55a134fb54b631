"""Lottery tickets: the smallest weights of the whole net go, the rest begins anew, and every training counts."""

import pytest
import torch
from ranks import digits_job, train
from torch import nn

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import find_strategy
from tune_cnn.training.strategies.lottery_ticket import prunable, prune

ON = {"lottery_ticket": True, "lottery_ticket.levels": 2, "lottery_ticket.share": 0.25}


def test_pruning_takes_the_smallest_of_what_is_left_over_all_layers():
    """By absolute value; 1/4 of 8, then 1/4 of 6."""
    weights = {"a": torch.tensor([0.1, -5.0, 3.0, -0.2]), "b": torch.tensor([[1.0, 0.3], [-4.0, 0.0]])}
    masks = {name: torch.ones_like(weight) for name, weight in weights.items()}
    prune(weights, masks, 0.25)
    assert masks["a"].tolist() == [0, 1, 1, 1] and masks["b"].tolist() == [[1, 1], [1, 0]]
    weights["a"][0] = 9.0  # what is pruned stays so
    prune(weights, masks, 0.25)
    assert masks["a"].tolist() == [0, 1, 1, 0] and masks["b"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_each_level_begins_where_the_first_began(rank, tmp_path, optimizer):
    """Three trainings of two epochs: weights, statistics and optimizer are the start's, but for what is pruned."""
    rank.begin(digits_job(tmp_path, strategies=ON, epochs=2, batch_size=200, optimizer=optimizer, learning_rate=0.01))
    training = rank._current._training
    run, model = training._run, training.model
    start = {name: value.clone() for name, value in model.state_dict().items()}
    whole = sum(weight.numel() for weight in prunable(model).values())
    left = whole
    for epoch in range(6):
        if epoch in (2, 4):
            trained = {name: weight.detach().abs().clone() for name, weight in prunable(model).items()}
            training._strategies.start_epoch(epoch)
            masks = {name: mask.clone() for name, mask in run.strategies["lottery_ticket"]._masks.items()}
            left -= int(0.25 * left)
            assert int(sum(mask.sum() for mask in masks.values())) == left
            kept = torch.cat([trained[name][mask > 0] for name, mask in masks.items()])
            gone = torch.cat([trained[name][mask == 0] for name, mask in masks.items()])
            assert gone.max() <= kept.min()
            for name, value in model.state_dict().items():
                assert torch.equal(value, start[name] * masks[name] if name in masks else start[name])
            assert not any(v.any() for state in run.optimizer.state.values() for v in state.values())
            run.strategies["lottery_ticket"].start_epoch = lambda run, epoch: None  # once is enough
        result = rank.train_epoch()
        if epoch in (2, 4):
            del run.strategies["lottery_ticket"].start_epoch
        assert result.metrics["simulated_parameters"] == result.metrics["parameters"] - (whole - left)
        for name, weight in prunable(model).items():
            assert epoch < 2 or not weight[masks[name] == 0].any()
    assert result.done and left < 0.6 * whole


def test_the_schedule_begins_anew_and_all_trainings_are_time(rank, tmp_path):
    """Six epochs are trained where two were asked for; the rates of each training are those of the first."""
    rank.begin(digits_job(tmp_path, strategies=ON, epochs=2, batch_size=200, schedule="cosine"))
    training = rank._current._training
    rates = [training._learning_rate(step) for step in range(18)]
    assert rates[:6] == rates[6:12] == rates[12:] and rates[0] > rates[5]
    results = [rank.train_epoch()]
    while not results[-1].done:
        results.append(rank.train_epoch())
    assert len(results) == 6
    times = [result.metrics["train_time_s"] for result in results]
    assert times == sorted(times) and times[-1] > times[1]
    assert results[-1].metrics["train_gflops"] == pytest.approx(3 * results[1].metrics["train_gflops"])


def test_a_plateau_is_forgotten_by_the_next_training(tmp_path):
    """Its factor is 1 again."""
    on = {**ON, "lottery_ticket.levels": 1}
    settings = {"epochs": 3, "batch_size": 200, "schedule": "plateau", "learning_rate": 2.0}
    rank, factors = RankTraining(), []
    rank.begin(digits_job(tmp_path, strategies=on, **settings))
    rank._current._training._plateau.observe(-1.0)  # none is ever below it
    for _ in range(6):
        rank.train_epoch()
        factors.append(rank._current._training._plateau.factor)
    rank.end()
    assert factors[2] < 1.0 and factors[3] == 1.0


def test_the_horizon_is_that_of_all_trainings():
    """With a larger batch's longer regime too, where both were on."""
    assert Configuration(epochs=5, strategies=ON).horizon == 15
    assert Configuration(epochs=5, strategies={"lottery_ticket": True}).trainings == 3
    both = Configuration(epochs=5, strategies={**ON, "regime_adaptation": True}, batch_size=256)
    assert (both.epochs_of_training, both.horizon) == (10, 30)


def test_levels_beyond_the_budget_are_told_before_a_search():
    """As far as it is known then: epochs."""
    spec = {
        "study": "a",
        "data": {"name": "digits"},
        "model": {"name": "small_cnn"},
        "objectives": ["accuracy", "train_time_s"],
        "space": {"epochs": [2, 5], "strategies": {"lottery_ticket": {"levels": [1, 4]}}},
        "budget": {"epochs": 24},
    }
    whole = StudySpec.model_validate(spec)
    with pytest.raises(SpecError, match=r"levels: 4 take 5 trainings of 5 epochs, 25 in all, but budget.epochs is 24"):
        find_strategy("lottery_ticket").check(whole, None)


def norms(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.BatchNorm2d(in_channels), nn.AdaptiveAvgPool2d((1, num_classes)), nn.Flatten())


def test_a_model_without_weights_is_told(tmp_path):
    """Before the first step."""
    with pytest.raises(StrategyError, match=r"^lottery_ticket: the model has no weights"):
        train(RankTraining(), digits_job(tmp_path, strategies=ON, model=f"{__name__}:norms"))
