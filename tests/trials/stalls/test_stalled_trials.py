"""Trials whose processes stand still are ended, with their stacks kept, and tried once more; nothing hangs."""

from dataclasses import replace
from pathlib import Path

from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.trials.stalls.node_processes import born
from tune_cnn.trials.tune_loop import run_trials

BOUND_S = 3.0  # that these tests wait for, where users wait a minute


def kept(folder: Path, number: int) -> str:
    return (folder / f"trial-{number:06d}.txt").read_text()


def test_a_frozen_rank_is_a_lost_one_and_its_trial_is_tried_again(one_ray, tmp_path):
    """Whichever it is: SIGSTOP, as a debugger or a cgroup sends it. No process of the group is left."""
    markers = [tmp_path / "frozen 0", tmp_path / "frozen 1"]
    shared = replace(payload(ranks=2), stall_timeout_s=BOUND_S, stalls=str(tmp_path / "stalls"))
    script = Script([trial(2, fault="freeze once", rank=n, marker=str(markers[n])) for n in range(2)])
    run_trials(script, shared, cpu_slots(1, ranks=2))
    assert script.ends == {0: ("complete", None), 1: ("complete", None)}
    assert [(point.trial, point.epoch) for point in script.points] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    for rank, marker in enumerate(markers):
        pid = marker.read_text()
        assert not born(int(pid)), "the frozen process is gone"
        said = kept(tmp_path / "stalls", rank)
        assert said.startswith(f"stalled: rank {rank} of 2 is frozen, in state T (stopped), on ")
        assert f"process {pid}: " in said
        assert "frozen, so that it can't show its stacks" in said and "most recent call first" in said


def test_a_trial_that_stands_still_twice_has_failed_with_that_reason(one_ray, tmp_path):
    """It is not tried a third time, and says where the stacks are."""
    shared = replace(payload(), stall_timeout_s=BOUND_S, stalls=str(tmp_path))
    script = Script([trial(fault="freeze"), trial()])
    run_trials(script, shared, cpu_slots(1))
    assert script.states() == ["failed", "complete"]
    reason = str(script.ends[0][1])
    assert reason.startswith("stalled: its process is frozen, in state T (stopped), on ")
    assert reason.endswith(f"; all stacks: {tmp_path}/trial-000000.txt; it was the second time")
    assert kept(tmp_path, 0).count("stalled: ") == 2


def test_ranks_that_hang_in_a_collective_are_ended_and_go_on_from_their_checkpoint(one_ray, tmp_path):
    """The main threads sit in C, and show where all the same."""
    shared = payload(ranks=2, loop="hanging_ranks:HangingRank", checkpoints=str(tmp_path / "checkpoints"))
    job = replace(shared.job, cache_dir=str(tmp_path), checkpoint_every_s=0.0)
    shared = replace(shared, job=job, stall_timeout_s=BOUND_S, stalls=str(tmp_path / "stalls"))
    script = Script([{"epochs": 2, "batch_size": 64, "learning_rate": 0.05}])
    run_trials(script, shared, cpu_slots(1, ranks=2))
    assert script.ends == {0: ("complete", None)}
    losses = {(point.epoch, point.metrics["val_loss"]) for point in script.points}
    assert sorted(epoch for epoch, _ in losses) == [1, 2], "the first was told again, not trained again"
    said = kept(tmp_path / "stalls", 0)
    assert said.startswith("stalled: no progress for ") and "is training on " in said
    assert "hanging_ranks.py" in said and "in broadcast" in said, "rank 1 sleeps, rank 0 waits for it in a collective"
    assert said.count("Current thread") == 2, "of each rank the stacks of now, none of before"
    assert (tmp_path / "hung").exists()
