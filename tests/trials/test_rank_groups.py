"""Trials of two ranks: one fails, both end; a lost one is replaced; the group stays warm from trial to trial."""

import math
from dataclasses import replace

from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.errors import LoaderLost, PeerLost
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.nodes.losses import RETRIES, Loss
from tune_cnn.trials.ranks import _first_cause
from tune_cnn.trials.tune_loop import run_trials


def test_the_fault_of_one_rank_is_its_trials_end(one_ray, tmp_path, monkeypatch):
    """Whichever rank it was. A rank that dies is replaced and its trial tried again; the search goes on."""
    monkeypatch.setitem(RETRIES, Loss.PROCESS, 1)
    trials = {
        "complete": trial(epochs=2),
        "failed by rank 0": trial(epochs=2, fault="raise", rank=0),
        "failed by rank 1": trial(epochs=2, fault="raise", rank=1),
        "infeasible": trial(fault="memory", rank=1),
        "complete again": trial(epochs=2, fault="die once", rank=1, marker=str(tmp_path / "died")),
        "failed by death": trial(fault="die", rank=1),
        "complete to the end": trial(epochs=2),
    }
    script = Script(list(trials.values()))
    run_trials(script, payload(ranks=2), cpu_slots(1, ranks=2))
    assert script.states() == [expected.partition(" ")[0] for expected in trials]
    assert script.ends[1] == script.ends[2] == ("failed", "the loss became NaN")
    assert script.ends[3] == ("infeasible", "out of memory: asked for too much")
    assert str(script.ends[5][1]).startswith("given up after 2 tries: ")


def test_a_process_that_cannot_be_freed_of_a_lost_rank_is_given_up(one_ray, tmp_path):
    """Where NCCL or the driver hangs in the abort too. A fresh process trains the trial."""
    script = Script([trial(marker=str(tmp_path / "died"))])
    run_trials(script, payload(ranks=2, loop="loops:HangingLoop"), cpu_slots(1, ranks=2))
    assert script.ends == {0: ("complete", None)}


def test_two_real_ranks_train_trial_after_trial_in_one_group(one_ray, tmp_path):
    """Gloo on digits; the second trial finds its processes, their group and the images as the first left them.

    A rank that fails before the first collective ends its trial alone: the other hears of it while it waits for all to
    be ready. What the rank said is the reason; one that is killed is replaced, and its trial trained.
    """
    shared = payload(ranks=2, loop="failing_ranks:FailingRank")
    shared = replace(shared, job=replace(shared.job, cache_dir=str(tmp_path)))
    script = Script([{"epochs": 1, "batch_size": 64, "learning_rate": 0.05} for _ in range(4)])
    run_trials(script, shared, cpu_slots(1, ranks=2))
    complete = ("complete", None)
    assert script.ends == {0: complete, 1: complete, 2: ("failed", "rank 1 can't read its images"), 3: complete}
    for point in script.points:
        assert all(math.isfinite(value) for value in point.metrics.values())
        assert 0 < point.metrics["accuracy"] <= 1
    losses = [tuple(point.metrics["val_loss"] for point in script.of(number)) for number in (0, 1, 3)]
    assert len(set(losses)) == 3, "each trial has a seed of its own"


def test_a_lost_loader_is_the_cause_and_a_lost_peer_what_followed() -> None:
    """Whichever rank tells first: its reason says which process died; what is no loss comes before both."""
    peer, loader, own = PeerLost("closed by peer"), LoaderLost("a loader process"), ValueError("its own")
    assert _first_cause([peer, loader]) is loader
    assert _first_cause([peer, loader, own]) is own
    assert _first_cause([peer]) is peer
