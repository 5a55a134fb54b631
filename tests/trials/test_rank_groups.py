"""Trials of two ranks: one fails, both end; a lost one is replaced; the group stays warm from trial to trial."""

import math
from dataclasses import replace

import pytest
from conductors import Script, cpu_slots, payload, trial

from tune_cnn.trials.ranks import TRAINING
from tune_cnn.trials.tuning import run_trials


@pytest.mark.parametrize("rank", [0, 1])
def test_the_fault_of_one_rank_ends_its_trial_with_its_reason(one_ray, rank):
    script = Script([trial(epochs=3), trial(epochs=3, fault="raise", rank=rank), trial(epochs=3)])
    run_trials(script, payload(ranks=2), cpu_slots(1, ranks=2))
    assert script.ends == {0: ("complete", None), 1: ("failed", "the loss became NaN"), 2: ("complete", None)}
    assert len(script.pids()) == 1, "rank 0's process survives"


def test_a_rank_out_of_memory_makes_its_trial_infeasible(one_ray):
    script = Script([trial(fault="memory", rank=1), trial()])
    run_trials(script, payload(ranks=2), cpu_slots(1, ranks=2))
    assert script.states() == ["infeasible", "complete"]


def test_a_trial_whose_rank_dies_is_tried_again(one_ray, tmp_path):
    script = Script([trial(epochs=2, fault="die once", rank=1, marker=str(tmp_path / "died")), trial(epochs=2)])
    run_trials(script, payload(ranks=2), cpu_slots(1, ranks=2))
    assert script.states() == ["complete", "complete"]


def test_a_trial_whose_rank_always_dies_fails(one_ray):
    script = Script([trial(epochs=2, fault="die", rank=1), trial(epochs=2)])
    run_trials(script, payload(ranks=2), cpu_slots(1, ranks=2))
    assert script.states() == ["failed", "complete"]


def test_two_real_ranks_train_trial_after_trial_in_one_group(one_ray, tmp_path):
    """Gloo on digits; the second trial finds its processes, their group and the images as the first left them."""
    shared = payload(ranks=2, loop=TRAINING)
    shared = replace(shared, job=replace(shared.job, cache_dir=str(tmp_path)))
    script = Script([{"epochs": 2, "batch_size": 64, "learning_rate": 0.05} for _ in range(3)])
    run_trials(script, shared, cpu_slots(1, ranks=2))
    assert script.ends == dict.fromkeys(range(3), ("complete", None))
    for point in script.points:
        assert all(math.isfinite(value) for value in point.metrics.values())
        assert 0 < point.metrics["accuracy"] <= 1
    first, *others = [[point.metrics["val_loss"] for point in script.of(number)] for number in range(3)]
    assert len(first) == 2
    assert all(losses != first for losses in others), "each trial has a seed of its own"
