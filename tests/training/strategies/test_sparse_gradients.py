"""Sparse gradients: no bias, the wanted share under the threshold, savings told apart from what was done."""

import pytest
import torch
from ranks import digits_job, train

from tune_cnn.errors import TrialError
from tune_cnn.metrics import METRICS
from tune_cnn.spec.strategies import Saves
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.sparse_gradients import (
    QUEUE,
    LayerGradients,
    SparseGradients,
    normal_factor,
    prune,
)


def test_pruning_keeps_the_expectation_and_what_is_above_the_threshold():
    """The mean of many draws is the gradient; each is 0 or ±τ under it, and the gradient itself from it on."""
    torch.manual_seed(0)
    gradient, threshold = torch.randn(200), torch.tensor(1.3)
    draws = torch.stack([prune(gradient, threshold, torch.rand(200)) for _ in range(4000)])
    assert torch.allclose(draws.mean(0), gradient, atol=0.08)
    under = gradient.abs() < threshold
    assert torch.equal(draws[:, ~under], gradient[~under].expand(4000, -1))
    values = {round(value, 4) for value in draws[:, under].abs().unique().tolist()}
    assert values == {0.0, 1.3}
    assert torch.equal(prune(gradient, torch.tensor(0.0), torch.rand(200)), gradient)


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["normal", "heavy"])
def test_the_wanted_share_comes_under_the_predicted_threshold(sparsity, kind):
    """Within 2 %, from the last batches' gradients alone; nothing is pruned before there are enough of them."""
    torch.manual_seed(0)
    layer, under, found = LayerGradients(sparsity, torch.device("cpu")), [], []
    for _ in range(120):
        gradient = 1e-3 * torch.randn(8, 4, 16, 16)
        gradient = gradient if kind == "normal" else gradient * torch.rand(8, 4, 1, 1) ** 3
        found.append((layer.pruned(gradient), gradient))
        under.append(float(layer.under))
    assert all(torch.equal(*pair) for pair in found[:QUEUE]) and under[:QUEUE] == [0.0] * QUEUE
    assert sum(under[-20:]) / 20 == pytest.approx(sparsity, abs=0.02)
    if kind == "normal":
        assert under[QUEUE] == pytest.approx(sparsity, abs=0.02)  # at once, where the paper's assumption holds


def test_the_factor_is_the_normal_distributions():
    assert normal_factor(0.9) == pytest.approx(1.6449, abs=1e-4)


def test_a_training_reaches_it_and_tells_what_could_be_skipped(tmp_path):
    """Apart from the arithmetic that was done, which is that of a full training; a simulation by its card."""
    on = {"sparse_gradients": True, "sparse_gradients.sparsity": 0.9}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, epochs=8, batch_size=20))
    training = rank._current._training
    strategy, facts = training._run.strategies["sparse_gradients"], training._model_facts
    results = []
    under: dict[str, list[float]] = {}
    after_step = training._strategies.after_step

    def noting():
        after_step()
        for name, layer in strategy._layers.items():
            under.setdefault(name, []).append(float(layer.under))

    training._strategies.after_step = noting
    while not (results and results[-1].done):
        results.append(rank.train_epoch())
    rank.end()
    assert set(under) == {"0", "3", "7"}
    for shares in under.values():
        assert sum(shares[-54:]) / 54 == pytest.approx(0.9, abs=0.02)  # of the last two epochs
    last = results[-1].metrics
    assert last["train_gflops"] == pytest.approx(8 * 540 * facts.train_gflops)
    assert 0.2 * last["train_gflops"] < last["skippable_train_gflops"] < last["train_gflops"]
    assert METRICS["skippable_train_gflops"].meaning.startswith("simulated")
    assert SparseGradients.saves is Saves.SIMULATED and last["accuracy"] > 0.5


def test_compiling_is_refused_and_without_a_prediction_nothing_changes(tmp_path):
    with pytest.raises(TrialError, match="sparse_gradients: is a simulation"):
        RankTraining().begin(digits_job(tmp_path, strategies={"sparse_gradients": True}, compile=True))
    plain, first = (
        train(RankTraining(), digits_job(tmp_path, strategies=on, batch_size=135, epochs=1))[0][-1].metrics
        for on in ({}, {"sparse_gradients": True})
    )
    assert plain["val_loss"] == pytest.approx(first["val_loss"], rel=1e-5)  # four steps: the queue isn't full yet
