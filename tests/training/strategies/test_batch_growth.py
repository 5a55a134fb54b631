"""Growing batches: rate over batch follows the schedule, with fewer steps; the noise scale is the paper's."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from ranks import digits_job

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.batch_growth import epoch_factors, gradients, multiples, noise_scale


def test_a_drop_to_a_tenth_is_a_batch_ten_times_as_large():
    """The step schedule's two drops, bounded; before the peak of a warm-up the batch stays."""
    factors = epoch_factors(Configuration(epochs=8, schedule="step"))
    assert multiples(factors, power=1.0, most=256) == [1, 1, 1, 1, 10, 10, 100, 100]
    assert multiples(factors, power=1.0, most=16) == [1, 1, 1, 1, 10, 10, 16, 16]
    assert multiples(factors, power=0.5, most=256) == [1, 1, 1, 1, 100, 100, 256, 256]  # the rate goes with the root
    warm = epoch_factors(Configuration(epochs=8, schedule="cosine", warmup_epochs=3.0))
    assert warm[0] < 0.01 and multiples(warm, power=1.0, most=64)[:3] == [1, 1, 1]


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "triangle", "step"])
def test_rate_over_batch_is_the_schedules_as_far_as_the_batch_may_grow(schedule):
    """Within the rounding to whole multiples the rate stays at its peak."""
    factors = epoch_factors(Configuration(epochs=20, schedule=schedule))
    grown = multiples(factors, power=1.0, most=1000)
    peak = factors.index(max(factors))
    for epoch in range(peak, 20):
        assert factors[epoch] * grown[epoch] <= 1 + 1e-5 or grown[epoch] == grown[epoch - 1]
        assert factors[epoch] * (grown[epoch] + 1) > 1 or grown[epoch] == 1000


def test_a_training_takes_fewer_steps_at_the_peak_rate(tmp_path):
    job = digits_job(tmp_path, strategies={"batch_growth": True}, epochs=4, batch_size=54, schedule="step")
    rank = RankTraining()
    rank.begin(job)
    run, steps, rates = rank._current._training._run, [], []
    for _ in range(4):
        rank.train_epoch()
        steps.append(rank._current._training._steps)
        rates.append(run.optimizer.param_groups[0]["lr"])
    rank.end()
    assert steps == [10, 10, 2, 2]
    assert rates == pytest.approx([0.05, 0.05, 0.05 * 0.8, 0.05 * 0.08])  # 8 times the batch, then no more


def test_the_noise_scale_is_that_of_the_gradients_distribution():
    """Gradients of batches are drawn around a known mean with a known spread of a single image's."""
    random = torch.Generator().manual_seed(0)
    mean, spread, batch = torch.full((5000,), 0.02), 0.3, 16
    drawn = [mean + spread / batch**0.5 * torch.randn(5000, generator=random) for _ in range(8)]
    true = 5000 * spread**2 / float(mean.square().sum())
    assert noise_scale(drawn, batch) == pytest.approx(true, rel=0.1)
    assert noise_scale([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])], 8) == float("inf")


def test_by_noise_the_batch_at_most_doubles_and_never_shrinks(tmp_path):
    on = {"batch_growth": True, "batch_growth.by": "noise", "batch_growth.most": 8}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, epochs=5, batch_size=20))
    before = {name: value.clone() for name, value in rank._current.model.named_buffers()}
    run, sizes = rank._current._training._run, []
    for _ in range(5):
        rank.train_epoch()
        sizes.append(run.batch_size)
    rank.end()
    assert before and sizes[0] == 20 and sizes == sorted(sizes) and sizes[-1] <= 160
    assert sizes[-1] > 20 and all(after <= 2 * size for size, after in pairwise(sizes))


OWN_LOSSES = [{"label_smoothing": 0.2}, {"loss": "bce"}, {"class_weights": "balanced"}, {"mixup": 1.0}, {"cutmix": 1.0}]


@pytest.mark.parametrize("settings", OWN_LOSSES)
def test_the_noise_is_that_of_the_trials_own_loss(tmp_path, settings):
    """Of the same images each gradient is the one that a step takes; and batches are mixed each by its own draw."""
    on = {"batch_growth": True, "batch_growth.by": "noise"}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=20, **settings))
    run = rank._current._training._run
    found = gradients(run)
    drawn_n = run.epoch_order()
    for number in (0, 3):
        run.backward(run.mixed(run.plain_batch(drawn_n[20 * number :][:20]), 20 * number))
        expected = torch.cat([p.grad.flatten() for p in run.model.parameters()])
        torch.testing.assert_close(found[number], expected)
    one, other = (run.mixed(run.plain_batch(drawn_n[:20]), draw).labels_n for draw in (0, 1))
    assert torch.equal(one, other) == (not one.is_floating_point())
    rank.end()


@pytest.mark.parametrize("sampling", ["random", "balanced"])
def test_the_noise_is_that_of_the_images_that_the_steps_draw(tmp_path, sampling, monkeypatch):
    """Of an epoch's own order: where that shows all classes equally often, so do these batches."""
    on = {"batch_growth": True, "batch_growth.by": "noise"}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=60, class_sampling=sampling))
    run, taken = rank._current._training._run, []
    of_steps_n = run._context.epoch_order(run.epoch)
    plain = run.plain_batch
    monkeypatch.setattr(run, "plain_batch", lambda positions_n: taken.append(positions_n) or plain(positions_n))
    gradients(run)
    np.testing.assert_array_equal(np.concatenate(taken), of_steps_n[:480])
    counts_k = np.bincount(run.train_images.labels_n[of_steps_n])
    assert (np.ptp(counts_k) <= 1) == (sampling == "balanced")
    rank.end()


def test_half_precision_loses_no_gradient_of_the_noise(tmp_path, monkeypatch):
    """Of a loss so small that fp16's gradients would all be zero: by the steps' loss scale, then taken out again."""
    on = {"batch_growth": True, "batch_growth.by": "noise"}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=20))
    run = rank._current._training._run
    state, loss_of = run._train_state, run._train_state.loss_of
    monkeypatch.setattr(run, "loss_of", lambda logits, labels_n: 1e-7 * loss_of(logits, labels_n))
    exact = torch.stack(gradients(run))
    monkeypatch.setattr(run, "autocast", lambda: torch.autocast("cpu", dtype=torch.float16))
    assert not torch.stack(gradients(run)).count_nonzero() > 0.5 * exact.count_nonzero()
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    scaled = torch.stack(gradients(run))
    assert torch.nn.functional.cosine_similarity(scaled, exact).min() > 0.99
    assert float(scaled.norm() / exact.norm()) == pytest.approx(1.0, rel=0.05)
    rank.end()


def test_a_loss_scale_that_is_too_large_leaves_the_batch(tmp_path, monkeypatch):
    """The steps that follow are left out until it has fallen; what isn't finite is no noise."""
    on = {"batch_growth": True, "batch_growth.by": "noise"}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=20))
    run = rank._current._training._run
    monkeypatch.setattr(run, "autocast", lambda: torch.autocast("cpu", dtype=torch.float16))
    run._train_state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    assert gradients(run) == []
    run.strategies["batch_growth"].start_epoch(run, 1)
    assert run.batch_size == 20
    rank.end()


def test_what_cannot_grow_is_refused(tmp_path):
    for settings, told in (
        ({"batch_size": 300, "schedule": "step"}, "twice the batch of 300 is more than the 540 training images"),
        ({"batch_size": 20, "schedule": "plateau"}, "the schedule plateau never halves the rate"),
    ):
        with pytest.raises(TrialError, match=f"batch_growth: {told}"):
            RankTraining().begin(digits_job(tmp_path, strategies={"batch_growth": True}, epochs=4, **settings))
