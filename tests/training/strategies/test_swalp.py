"""SWALP: the mean of the epochs' weights of few bits is what comes out, its statistics and its rate as in the paper."""

import pytest
import torch
from ranks import digits_job

from tune_cnn.errors import SpecError
from tune_cnn.spec.dimensions import Fixed
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.strategies.block_floating import quantised
from tune_cnn.training.strategies.framework.registry import cards_of
from tune_cnn.training.strategies.framework.running_statistics import refreshed, some_images
from tune_cnn.training.strategies.swalp import include

SWALP = {"dfp16": True, "dfp16.bits": 8, "swalp": True, "swalp.start": 0.5}


def test_including_one_after_another_gives_the_mean():
    """Whatever their number."""
    weights = [{"w": torch.randn(5, generator=torch.Generator().manual_seed(at))} for at in range(7)]
    mean = {"w": torch.full((5,), 9.0)}
    for number, one in enumerate(weights, start=1):
        include(mean, one, number=number)
        assert torch.allclose(mean["w"], torch.stack([w["w"] for w in weights[:number]]).mean(0), atol=1e-6)


@pytest.mark.parametrize("hold_rate", [True, False])
def test_the_mean_of_the_epochs_weights_comes_out(rank, tmp_path, hold_rate):
    """Of epochs 3 to 5, which stay in the format of 8 bits, while the rate stays where it was."""
    on = {**SWALP, "swalp.hold_rate": hold_rate}
    rank.begin(digits_job(tmp_path, strategies=on, epochs=6, batch_size=180, schedule="one_cycle"))
    training = rank._current._training
    weights, rates, expected = [], [], []
    strategy = training._run.strategies["swalp"]
    include_epoch = strategy.end_epoch

    def noted(run):
        weights.append({name: p.detach().clone() for name, p in run.model.named_parameters()})
        rates.append(float(run.optimizer.param_groups[0]["lr"]))
        expected.append(training._learning_rate(run.epoch * 3))
        include_epoch(run)

    strategy.end_epoch = noted
    while not rank.train_epoch().done:
        pass
    assert rates[3] == pytest.approx(expected[3]) if hold_rate else rates[3] < expected[3]
    assert (rates[3] == rates[4] == rates[5]) is hold_rate
    assert all(torch.equal(quantised(w, 8, stochastic=False), w) for epoch in weights for w in epoch.values())
    model = rank._current.model
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, torch.stack([epoch[name] for epoch in weights[3:]]).mean(0), atol=1e-6)
    assert not torch.equal(model[0].weight, weights[-1]["0.weight"])
    statistics = refreshed(model, some_images(training._run))
    for name, value in model.named_buffers():  # but for what rounding draws
        assert torch.allclose(value.float(), statistics[name].float(), rtol=0.1, atol=0.05)


def test_it_needs_the_low_precision():
    """Without it there is no noise of rounding to average away."""
    space = {"strategies.swalp": Fixed(value=True)}
    with pytest.raises(SpecError, match=r"^space.strategies: swalp needs dfp16 beside it; add it$"):
        check_strategies(space, cards_of(["swalp", "dfp16"]))
