"""Averaged weights: they follow the paper's equation, are what is evaluated and exported, and leave training alone."""

import pytest
import torch
from brisk import job_with
from ranks import digits_job, same_bits, train
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.ema import decay_of, update
from tune_cnn.training.strategies.framework.running_statistics import refreshed


def test_an_update_is_the_papers_and_the_decay_warms_up():
    """average ← d·average + (1 − d)·weights, in place; d begins at 2/11 and ends at the wanted one."""
    average, learned = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([5.0, 2.0])}
    place = average["w"].data_ptr()
    update(average, learned, decay=0.75)
    assert average["w"].tolist() == [2.0, 2.0] and average["w"].data_ptr() == place
    assert decay_of(1, 0.99) == 2 / 11 and decay_of(10_000, 0.99) == 0.99
    decays = [decay_of(n, 0.9) for n in range(1, 200)]
    assert decays == sorted(decays)


def averages(weights_of_steps, decay):
    """By the definition, a value at a time."""
    average = dict(weights_of_steps[0])
    for number, weights in enumerate(weights_of_steps[1:], start=1):
        kept = min(decay, (1 + number) / (10 + number))
        average = {name: kept * average[name] + (1 - kept) * weights[name] for name in average}
    return average


def test_the_average_is_evaluated_and_exported_and_training_goes_on_without_it(tmp_path, monkeypatch):
    """Weights after each step are those without the strategy; what comes out is their average."""
    job = digits_job(tmp_path, strategies={"ema": True, "ema.decay": 0.8}, epochs=3, batch_size=180)
    seen, shown = [], []
    rank = RankTraining()
    rank.begin(job)
    training = rank._current._training
    after_step = training._strategies.after_step
    monkeypatch.setattr(
        training._strategies,
        "after_step",
        lambda: (
            seen.append({k: v.double().clone() for k, v in rank._current.model.state_dict().items()}),
            after_step(),
        ),
    )
    evaluate = "tune_cnn.training.supervised.evaluate"
    from tune_cnn.training.step.evaluation import evaluate as real

    def noted(model, context, images):
        shown.append({k: v.clone() for k, v in model.state_dict().items()})
        return real(model, context, images)

    monkeypatch.setattr(evaluate, noted)
    ends = []
    while not rank.train_epoch().done:
        ends.append({k: v.clone() for k, v in rank._current.model.state_dict().items()})
    weights = rank.weights()
    rank.end()
    for end, of_step in zip(ends, (2, 5), strict=True):  # three steps an epoch; the model has its own weights again
        assert all(torch.equal(end[name].double(), seen[of_step][name]) for name in end)
    for evaluated, steps in zip(shown, (3, 6, 9), strict=True):
        expected = averages(seen[:steps], 0.8)
        for name, value in evaluated.items():
            if value.is_floating_point():
                assert torch.allclose(value.double(), expected[name], atol=1e-5), name
    assert same_bits(weights, shown[-1])
    _, without = train(RankTraining(), digits_job(tmp_path, epochs=3, batch_size=180))
    assert all(torch.equal(without[name].double(), seen[-1][name]) for name in without)


def test_refreshed_statistics_are_those_of_the_batches():
    """Mean and variance of what a norm is given, over all batches alike; the model is left as it was."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    model(torch.randn(8, 1, 6, 6))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [torch.randn(16, 1, 6, 6), 3 * torch.randn(16, 1, 6, 6)]
    found = refreshed(model.eval(), batches)
    maps = [model[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    assert torch.allclose(found["1.running_mean"], torch.stack([m.mean(1) for m in maps]).mean(0), atol=1e-6)
    assert torch.allclose(found["1.running_var"], torch.stack([m.var(1) for m in maps]).mean(0), atol=1e-5)
    assert found["1.num_batches_tracked"] == 2
    assert not model.training and model[1].momentum == 0.1
    assert same_bits(model.state_dict(), before)


def test_a_refresh_changes_the_statistics_and_needs_some(tmp_path):
    """Weights are the same average; a model without running statistics is refused before it trains."""
    averaged, anew = (
        train(RankTraining(), job_with(tmp_path, "ema", strategies={"ema": True, "ema.statistics": how}))
        for how in ("averaged", "refreshed")
    )
    differing = {name for name in averaged[1] if not torch.equal(averaged[1][name], anew[1][name])}
    assert differing and all("running" in name or "tracked" in name for name in differing)
    assert anew[0][-1].metrics["train_gflops"] > averaged[0][-1].metrics["train_gflops"]
    on = {"ema": True, "ema.statistics": "refreshed"}
    with pytest.raises(TrialError, match="ema: statistics=refreshed, but the model has no running statistics"):
        RankTraining().begin(digits_job(tmp_path, model=f"{__name__}:linear", strategies=on))


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))
