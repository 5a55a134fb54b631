"""Layer freezing: layers rest front to back, keep their weights, and the backward pass gets cheaper."""

from itertools import pairwise

import pytest
import torch
from ranks import digits_job, train

from tune_cnn.errors import TrialError
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.layer_freezing import layers_in_order, resting


def test_layers_rest_at_the_papers_times():
    """Five layers, ten epochs: at 0.5, 0.625, 0.75, 0.875 of them and never; the cubic scaling rests sooner."""
    assert [resting(5, epoch, 10, 0.5) for epoch in range(10)] == [0, 0, 0, 0, 0, 1, 1, 2, 3, 4]
    assert [resting(5, epoch, 10, 0.5, power=3) for epoch in range(10)] == [0, 0, 1, 2, 2, 3, 3, 4, 4, 4]
    assert resting(1, 9, 10, 0.5) == 0  # the last one learns to the end
    assert all(resting(8, 0, epochs, 0.05) == 0 for epochs in (1, 2, 100))


def test_the_order_is_that_of_the_images_way_and_not_that_of_the_definition():
    class Backwards(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.first = torch.nn.Linear(4, 2), torch.nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.first(x))

    assert layers_in_order(Backwards(), torch.randn(2, 3)) == ["first", "head"]
    net = build_model("small_cnn", num_classes=10, in_channels=1, image_size=(8, 8))
    assert layers_in_order(net, torch.randn(2, 1, 8, 8)) == ["0", "1", "3", "4", "7", "8", "12"]


def test_resting_weights_stay_and_the_pass_through_them_is_saved(tmp_path):
    """The arithmetic of an epoch falls from epoch to epoch, and never below a forward pass; statistics go on."""
    on = {"layer_freezing": True, "layer_freezing.start": 0.25}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, epochs=8, batch_size=180))
    facts = rank._current._training._model_facts
    totals, states = [0.0], []
    while len(totals) < 9:
        totals.append(rank.train_epoch().metrics["train_gflops"])
        states.append({name: value.clone() for name, value in rank._current.model.state_dict().items()})
    resting_at_last = rank._current._training.changes[-1]["resting"]
    assert rank.changes() == []  # the net that comes out is the factory's
    rank.end()
    costs = [after - before for before, after in pairwise(totals)]
    assert costs == sorted(costs, reverse=True) and costs[0] == pytest.approx(540 * facts.train_gflops)
    assert 540 * facts.inference_gflops < costs[-1] < 0.45 * costs[0]
    for before, after in pairwise(states[1:]):
        assert torch.equal(before["0.weight"], after["0.weight"])
        assert not torch.equal(before["12.weight"], after["12.weight"])
        assert not torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert resting_at_last and "12.weight" not in resting_at_last


def test_what_would_never_rest_is_refused(tmp_path):
    on = {"layer_freezing": True, "layer_freezing.start": 0.9}
    with pytest.raises(TrialError, match="layer_freezing: none of 7 layers would rest before the last of 2 epochs"):
        RankTraining().begin(digits_job(tmp_path, strategies=on, epochs=2))
    train(RankTraining(), digits_job(tmp_path, strategies={**on, "layer_freezing.start": 0.5}, epochs=2))
