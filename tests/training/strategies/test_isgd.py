"""Inconsistent SGD: the control limit, the conservative step, and which batches are stepped again."""

import pytest
import torch
from ranks import digits_job

from tune_cnn.errors import SpecError
from tune_cnn.spec.dimensions import Fixed
from tune_cnn.spec.strategies import check_strategies, conflict
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of
from tune_cnn.training.strategies.isgd import Isgd, conserve, control_limit


def test_the_limit_is_the_mean_and_three_deviations():
    assert control_limit([1.0, 2.0, 3.0], 0.0) == 2.0
    assert control_limit([1.0, 3.0], 3.0) == pytest.approx(2 + 3 * 1.0)


def test_a_conservative_step_descends_the_papers_objective():
    """½(ψ(w) − limit)² + ε/(2n)·‖w − w₀‖²: the step is the rate times its gradient, by autograd."""
    torch.manual_seed(0)
    weights = [torch.randn(3, 2, requires_grad=True), torch.randn(4, requires_grad=True)]
    before = [weight.detach() + 0.1 for weight in weights]
    limit, epsilon, rate = 0.3, 0.7, 0.05

    def psi():
        return weights[0].square().sum() + weights[1].sin().sum() + 5

    held = sum((w - f).square().sum() for w, f in zip(weights, before, strict=True))
    objective = 0.5 * (psi() - limit) ** 2 + epsilon / (2 * 10) * held
    expected = [w - rate * g for w, g in zip(weights, torch.autograd.grad(objective, weights), strict=True)]
    gradients = torch.autograd.grad(psi(), weights)
    conserve(weights, gradients, before, excess=float(psi().detach()) - limit, rate=rate, epsilon=epsilon)
    assert all(torch.allclose(w, e, atol=1e-5) for w, e in zip(weights, expected, strict=True))


def test_only_batches_above_the_limit_are_stepped_again_and_their_loss_falls(tmp_path, monkeypatch):
    """Never in the first epoch; `most` times at most; each further pass is counted as a training pass."""
    again: list[tuple[float, list[float]]] = []
    step_again = Isgd._step_again

    def noting(self, run, batch, limit):
        again.append((limit, []))
        step_again(self, run, batch, limit)

    monkeypatch.setattr(Isgd, "_step_again", noting)
    on = {"isgd": True, "isgd.sigmas": 0.5, "isgd.most": 3}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, epochs=6, batch_size=30, learning_rate=0.2))
    run = rank._current._training._run
    backward = run.backward

    def watched(batch):
        loss = backward(batch)
        again[-1][1].append(float(loss))
        return loss

    monkeypatch.setattr(run, "backward", watched)
    facts = rank._current._training._model_facts
    metrics = rank.train_epoch().metrics
    assert again == [] and metrics["train_gflops"] == pytest.approx(540 * facts.train_gflops)
    while not (result := rank.train_epoch()).done:
        pass
    rank.end()
    assert again and all(1 <= len(losses) <= 3 for _, losses in again)
    for limit, losses in again:
        assert all(loss > limit for loss in losses[:-1])
    fell = [losses[-1] < losses[0] for _, losses in again if len(losses) > 1]
    assert not fell or sum(fell) > len(fell) / 2
    passes = sum(len(losses) for _, losses in again)
    assert result.metrics["train_gflops"] == pytest.approx((6 * 540 + 30 * passes) * facts.train_gflops)


def test_batches_are_the_same_in_every_epoch(tmp_path, monkeypatch):
    seen = []
    batch = Isgd.batch
    monkeypatch.setattr(
        Isgd, "batch", lambda self, run, one: (seen.append(run.batch_positions_n.tolist()), batch(self, run, one))[1]
    )
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies={"isgd": True}, epochs=2, batch_size=180))
    rank.train_epoch()
    rank.train_epoch()
    rank.end()
    assert seen[:3] == seen[3:] and len(set(map(tuple, seen))) == 3


def test_the_patent_is_named_where_a_user_looks():
    """In the docstring of file and class, and in what `tune-cnn strategies` prints."""
    assert "US 10,572,800" in str(Isgd.__doc__) and "patent" in Isgd.card().summary


@pytest.mark.parametrize("other", ["minibatch_order", "info_batch", "selective_backprop"])
def test_sample_selection_beside_it_is_refused(other):
    cards = cards_of(["isgd", other])
    assert other in str(conflict(cards["isgd"], cards[other]))
    space = {"strategies.isgd": Fixed(value=True), f"strategies.{other}": Fixed(value=True)}
    with pytest.raises(SpecError, match=f"isgd and {other} can't be on together: isgd compares the losses"):
        check_strategies(space, cards)
