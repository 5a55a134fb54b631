"""InfoBatch: the gradient that is expected stays, steps are saved, and the last epochs use everything."""

import pytest
import torch
from ranks import digits_job, train

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.info_batch import prune


def drawn(losses_n, times, **settings):
    random = torch.Generator().manual_seed(0)
    return [prune(losses_n, random=random, **settings) for _ in range(times)]


def test_the_expected_sum_of_what_is_learned_from_is_the_whole_one():
    """Each image is there as often, times its weight, as without pruning; those above the mean always, as they are."""
    losses_n = torch.cat([torch.linspace(0, 1, 30), torch.linspace(3, 4, 10)])
    below_n = losses_n < losses_n.mean()
    draws = drawn(losses_n, 4000, drop=0.5, batch_size=5)
    share_n = torch.stack([one.kept_n * one.weights_n for one in draws]).mean(0)
    assert torch.allclose(share_n, torch.ones(40), atol=0.1)
    for one in draws[:50]:
        assert one.kept_n[~below_n].all() and (one.weights_n[~below_n] == 1).all()
        assert torch.equal(one.weights_n[below_n], torch.full((30,), 2.0))
        assert (~one.kept_n).sum() == 15


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_whole_batches_are_left_out_and_never_all_images_under_the_mean(batch_size):
    """The weight is what the share that is really left out asks for."""
    losses_n = torch.rand(200, generator=torch.Generator().manual_seed(1))
    below_n = losses_n < losses_n.mean()
    (one,) = drawn(losses_n, 1, drop=0.5, batch_size=batch_size)
    left_out = int((~one.kept_n).sum())
    assert left_out % batch_size == 0 and left_out <= 0.75 * below_n.sum()
    assert one.weights_n[below_n].max() == pytest.approx(int(below_n.sum()) / (int(below_n.sum()) - left_out))


def test_unknown_losses_are_kept_and_equal_ones_too():
    """As in the first epoch of the paper, when no loss is under the mean."""
    for losses_n in (torch.full((20,), torch.nan), torch.ones(20)):
        (one,) = drawn(losses_n, 1, drop=0.9, batch_size=1)
        assert one.kept_n.all() and (one.weights_n == 1).all()
    losses_n = torch.tensor([0.0, 0.0, 9.0, torch.nan])
    (one,) = drawn(losses_n, 1, drop=0.5, batch_size=1)
    assert one.kept_n[2:].all() and one.kept_n.sum() == 3


def test_a_training_leaves_images_out_but_not_in_the_first_and_the_last_epochs(tmp_path):
    """What a step costs stays, and there are fewer of them; the losses are those of the steps."""
    job = digits_job(tmp_path, strategies={"info_batch": True}, epochs=8, batch_size=30)
    rank, images = RankTraining(), []
    rank.begin(job)
    strategy = rank._current._training._run.strategies["info_batch"]
    done = 0.0
    gflops = rank._current._training._model_facts.train_gflops
    while len(images) < 8:
        total = rank.train_epoch().metrics["train_gflops"]
        images.append(round((total - done) / gflops))
        done = total
        known_n = strategy._losses.read()
        assert known_n.isfinite().all() and (known_n > 0).all()
    rank.end()
    assert images[0] == images[-1] == 540  # of 600, the rest is validated on
    assert all(300 < some < 540 and some % 30 == 0 for some in images[1:7])


def test_too_few_epochs_are_refused(tmp_path):
    with pytest.raises(TrialError, match="info_batch: needs 3 epochs at least, got epochs=2"):
        RankTraining().begin(digits_job(tmp_path, strategies={"info_batch": True}, epochs=2))


def test_without_pruning_it_is_the_training_without_it(tmp_path):
    """As long as nothing is left out the loss is the plain mean: the first epoch's figures are the same."""
    first, plain = (
        train(RankTraining(), digits_job(tmp_path, strategies=on, epochs=3), epochs=1)[0][0].metrics
        for on in ({"info_batch": True}, {})
    )
    assert first["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)
    assert first["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-3)
