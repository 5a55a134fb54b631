"""However a trial ends, the search hears of it once and goes on."""

import time

import pytest
from conductors import Script, cpu_slots, payload, trial

from tune_cnn.trials.tuning import MAX_FAILURES, run_trials


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("raise", ("failed", "the loss became NaN")),
        ("bug", ("failed", "ZeroDivisionError: in the user's code")),
        ("memory", ("infeasible", "out of memory: asked for too much")),
        ("device memory", ("infeasible", "training: out of memory: tried to allocate 2 GiB")),
    ],
)
def test_a_trials_own_fault_is_its_end_and_its_process_stays_warm(one_ray, fault, end):
    script = Script([trial(), trial(fault=fault), trial(), trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.ends == {0: ("complete", None), 1: end, 2: ("complete", None), 3: ("complete", None)}
    assert len(script.pids()) == 1


@pytest.mark.parametrize(
    ("params", "said"),
    [({"epochs": 0}, "epochs"), ({"loader_workers": 1, "loader": "device"}, "loader_workers")],
)
def test_a_configuration_that_does_not_hold_is_a_failed_trial(one_ray, params, said):
    script = Script([params, trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.states() == ["failed", "complete"]
    assert said in str(script.ends[0][1])


def test_a_loop_that_cannot_be_imported_fails_its_trials(one_ray):
    script = Script([trial(), trial()])
    run_trials(script, payload(loop="loops:NoSuchLoop"), cpu_slots(1))
    assert script.states() == ["failed", "failed"]
    assert "NoSuchLoop" in str(script.ends[0][1])


def test_a_process_that_dies_once_is_replaced_and_no_slot_is_lost(one_ray, tmp_path):
    """The other slot's short trials go on meanwhile, and the trial completes in a fresh process."""
    short = [trial(epochs=2, seconds=0.02) for _ in range(10)]
    long = [trial(epochs=4, seconds=0.5) for _ in range(8)]
    script = Script([*short, trial(fault="die once", marker=str(tmp_path / "died")), *short, *long])
    run_trials(script, payload(), cpu_slots(2))
    assert script.states() == ["complete"] * 29
    assert len(script.pids()) == 3, "both first processes and the one that replaced the dead"
    company = [script.side_by_side(point) for trial in range(23, 29) for point in script.of(trial)]
    assert company.count(2) >= 16, f"a slot was lost: of 24 last epochs these trained beside: {company}"


@pytest.mark.parametrize(("fault", "said"), [("die", "exit"), ("cuda", "an illegal memory access")])
def test_a_process_that_is_lost_every_time_fails_its_trial(one_ray, fault, said):
    script = Script([trial(fault=fault), trial(), trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.states() == ["failed", "complete", "complete"]
    reason = str(script.ends[0][1])
    assert reason.startswith(f"given up after {MAX_FAILURES + 1} tries: ")
    assert said in reason
    assert "\n" not in reason


def test_the_conductor_stops_a_trial_at_any_epoch(one_ray):
    """At its last epoch it is complete, whatever the conductor says."""
    script = Script([trial(epochs=3) for _ in range(4)], stop_at={0: 1, 1: 2, 2: 3})
    run_trials(script, payload(), cpu_slots(1))
    assert script.states() == ["stopped", "stopped", "complete", "complete"]
    assert [len(script.of(number)) for number in range(4)] == [1, 2, 3, 3]
    assert len(script.pids()) == 1


def test_draining_ends_trials_at_their_epoch_with_a_checkpoint(one_ray, tmp_path):
    script = Script([trial(epochs=1000, seconds=0.1) for _ in range(6)], drain_after=6)
    run_trials(script, payload(checkpoints=str(tmp_path)), cpu_slots(2))
    returned = time.time()
    assert script.ends == {0: ("interrupted", None), 1: ("interrupted", None)}
    assert script.started == [0, 1]
    for number in range(2):
        last = script.of(number)[-1]
        assert last.checkpoint == f"{tmp_path}/{number:06d}/{last.epoch}"
        assert last.epoch < 10
    assert returned - max(script.ended_at.values()) < 5.0, "Tune waits up to 15 s for processes that do not end"


def test_a_search_drained_before_it_begins_starts_nothing(one_ray):
    script = Script([trial(epochs=1000) for _ in range(3)], drain_after=0)
    run_trials(script, payload(), cpu_slots(2))
    assert script.points == []
    assert set(script.states()) <= {"interrupted"}


def test_what_tune_writes_holds_nothing_of_the_conductors(one_ray, tmp_path, monkeypatch):
    """Its searcher, stopper and callbacks are pickled into a folder; a conductor knows the store's password."""
    import tempfile

    from tune_cnn.trials import tuning

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tuning.shutil, "rmtree", lambda *args, **kwargs: None)
    script = Script([trial(), trial(fault="die")], secret="hunter2-correct-horse")
    run_trials(script, payload(), cpu_slots(1))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "tuner.pkl" for path in written), "look where Tune writes now"
    assert not [path for path in written if b"hunter2" in path.read_bytes()]


def test_tunes_folder_is_gone_afterwards(one_ray, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_trials(Script([trial()]), payload(), cpu_slots(1))
    assert list(tmp_path.iterdir()) == []
