"""Selective backprop: an image is chosen with a power of its loss's percentile; the backward pass is smaller."""

from itertools import pairwise

import pytest
import torch
from ranks import digits_job, train

from tune_cnn.errors import TrialError
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.losses import training_loss
from tune_cnn.training.strategies.selective_backprop import draw, losses_of_images, percentiles


def test_a_percentile_is_the_share_that_is_no_larger():
    """Among others; an unknown loss counts as the largest."""
    among_m = torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert percentiles(torch.tensor([1.0, 2.5, 9.0, 0.0]), among_m).tolist() == [0.25, 0.5, 1.0, 0.0]
    assert percentiles(torch.tensor([torch.nan]), among_m).tolist() == [1.0]


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
def test_that_share_is_drawn_and_large_losses_more_often(keep):
    """The first draw of many has the probabilities of the paper, CDF^β; and as many are chosen each time."""
    percentiles_n = torch.arange(1, 41) / 40
    random = torch.Generator().manual_seed(0)
    counts_n = torch.zeros(40)
    for _ in range(4000):
        chosen_n = draw(percentiles_n, keep, torch.rand(40, generator=random))
        assert len(chosen_n) == round(40 * keep) and len(set(chosen_n.tolist())) == len(chosen_n)
        counts_n[chosen_n] += 1
    shares_n = counts_n / 4000
    assert (shares_n[30:].mean() > shares_n[10:20].mean()) and shares_n.mean() == pytest.approx(keep)
    # With β = 1 a Bernoulli draw would take the percentile itself; without replacement it is near to that.
    if keep == 0.5:
        assert (shares_n - percentiles_n).abs().mean() < 0.1


def test_one_of_many_is_drawn_by_its_weight():
    """Where one image is kept the probabilities are exactly in proportion."""
    percentiles_n = torch.tensor([0.1, 0.2, 0.3, 0.4] + [1e-9] * 0)
    random = torch.Generator().manual_seed(0)
    keys = (torch.rand(20000, 4, generator=random).log() / percentiles_n).argmax(1)
    assert torch.allclose(torch.bincount(keys) / 20000, percentiles_n, atol=0.015)


def test_a_step_learns_from_the_share_and_the_look_is_counted(tmp_path):
    """Arithmetic of an epoch: a training pass for those kept, and a forward pass for all."""
    job = digits_job(tmp_path, strategies={"selective_backprop": True, "selective_backprop.keep": 0.5}, batch_size=90)
    rank = RankTraining()
    rank.begin(job)
    facts = rank._current._training._model_facts
    metrics = rank.train_epoch().metrics
    rank.end()
    assert metrics["train_gflops"] == pytest.approx(270 * facts.train_gflops + 540 * facts.inference_gflops)


def test_stale_losses_choose_without_a_look(tmp_path):
    """In every second epoch there is no forward pass beside the steps, and half of the steps."""
    on = {"selective_backprop": True, "selective_backprop.keep": 0.5, "selective_backprop.every": 2}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=90, epochs=3))
    facts = rank._current._training._model_facts
    totals = [0.0] + [rank.train_epoch().metrics["train_gflops"] for _ in range(3)]
    rank.end()
    looked, stale, again = (after - before for before, after in pairwise(totals))
    assert stale == pytest.approx(270 * facts.train_gflops)
    assert looked == pytest.approx(again) and looked > stale


def test_it_learns_what_is_hard_and_refuses_ghosts_that_it_would_undo(tmp_path):
    results, _ = train(RankTraining(), digits_job(tmp_path, strategies={"selective_backprop": True}, epochs=3))
    assert results[-1].metrics["accuracy"] > 0.3
    on = {"selective_backprop": True, "ghost_batch_norm": True, "ghost_batch_norm.size": 32}
    with pytest.raises(TrialError, match="leaves 32 images of a rank's batch"):
        RankTraining().begin(digits_job(tmp_path, strategies=on, batch_size=64))


def test_images_are_chosen_by_the_loss_that_is_trained_on(tmp_path):
    """Each class by itself and smoothed, where the trial has it so; as the net is evaluated."""
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies={"selective_backprop": True}, loss="bce", label_smoothing=0.2))
    run = rank._current._training._run
    images_nchw, labels_n = run.sample_batch()
    found = losses_of_images(run, Batch(images_nchw, labels_n))
    with torch.no_grad():
        logits = run.model.eval()(images_nchw)
    expected = training_loss(logits, labels_n, kind="bce", label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(found, expected)
    rank.end()
