"""However a trial ends, the search hears of it once and goes on."""

import tempfile

from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.trials import tune_loop
from tune_cnn.trials.cluster.machines import connected
from tune_cnn.trials.nodes.losses import RETRIES, Loss
from tune_cnn.trials.tune_loop import run_trials


def test_a_trials_own_fault_is_its_end_and_its_process_stays_warm(one_ray):
    ends = {
        "raise": ("failed", "the loss became NaN"),
        "bug": ("failed", "ZeroDivisionError: in the user's code"),
        "memory": ("infeasible", "out of memory: asked for too much"),
        "device memory": ("infeasible", "training: out of memory: tried to allocate 2 GiB"),
    }
    script = Script([trial(), *[trial(fault=fault) for fault in ends], trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.ends == dict(enumerate([("complete", None), *ends.values(), ("complete", None)]))
    assert len(script.pids()) == 1


def test_a_configuration_that_does_not_hold_is_a_failed_trial(one_ray):
    script = Script([{"epochs": 0}, {"loader_workers": 1, "loader": "device"}, trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.states() == ["failed", "failed", "complete"]
    assert "epochs" in str(script.ends[0][1])
    assert "loader_workers=1 has no meaning with loader='device'" in str(script.ends[1][1])


def test_a_loop_that_cannot_be_imported_fails_its_trials(one_ray):
    script = Script([trial(), trial()])
    run_trials(script, payload(loop="loops:NoSuchLoop"), cpu_slots(1))
    assert script.states() == ["failed", "failed"]
    assert "NoSuchLoop" in str(script.ends[0][1])


def test_a_process_that_dies_once_is_replaced_and_no_slot_is_lost(one_ray, tmp_path):
    """The other slot goes on meanwhile, with trials shorter than the start of the process that replaces the dead."""
    short = [trial(epochs=1, seconds=0.5) for _ in range(16)]
    script = Script([*short[:4], trial(fault="die once", marker=str(tmp_path / "died")), *short])
    run_trials(script, payload(), cpu_slots(2))
    assert script.states() == ["complete"] * 21
    assert len(script.pids()) == 3, "both first processes and the one that replaced the dead"
    assert len({point.pid for point in script.points[-4:]}) == 2, "both slots are there to the end"


def test_a_process_that_is_lost_every_time_fails_its_trial(one_ray, monkeypatch, capfd):
    """What broke a CUDA context is tried again in a fresh process as well; Ray's own words stay off the screen."""
    monkeypatch.setitem(RETRIES, Loss.PROCESS, 1)
    script = Script([trial(fault="die"), trial(fault="cuda"), trial(), trial()])
    with connected(None, code=[], calls=[]):
        run_trials(script, payload(), cpu_slots(2))
    assert script.states() == ["failed", "failed", "complete", "complete"]
    died, broke = str(script.ends[0][1]), str(script.ends[1][1])
    assert died.startswith("given up after 2 tries: The actor is dead because its worker process has died.")
    assert broke == "given up after 2 tries: training: CUDA error: an illegal memory access was encountered"
    assert capfd.readouterr() == ("", "")


def test_the_driver_stops_a_trial_at_any_epoch(one_ray):
    """At its last epoch it is complete, whatever the driver says."""
    script = Script([trial(epochs=3) for _ in range(4)], stop_at={0: 1, 1: 2, 2: 3})
    run_trials(script, payload(), cpu_slots(1))
    assert script.states() == ["stopped", "stopped", "complete", "complete"]
    assert [len(script.of(number)) for number in range(4)] == [1, 2, 3, 3]
    assert len(script.pids()) == 1


def test_draining_ends_trials_at_their_epoch_with_a_checkpoint(one_ray, tmp_path):
    script = Script([trial(epochs=1000, seconds=0.1) for _ in range(6)], drain_after=6)
    run_trials(script, payload(checkpoints=str(tmp_path)), cpu_slots(2))
    assert script.ends == {0: ("interrupted", None), 1: ("interrupted", None)}
    assert script.started == [0, 1]
    for number in range(2):
        last = script.of(number)[-1]
        assert last.checkpoint == f"{tmp_path}/{number:06d}/{last.epoch}"
        assert last.epoch < 10


def test_a_trial_that_is_left_within_an_epoch_is_interrupted(one_ray):
    """It has no point of that epoch, and its process goes on with the next trial."""
    script = Script([trial(epochs=3, seconds=600.0, leave_after=0), trial()])
    run_trials(script, payload(), cpu_slots(1))
    assert script.ends == {0: ("interrupted", None), 1: ("complete", None)}
    assert script.of(0) == [] and len(script.pids()) == 1


def test_a_search_drained_before_it_begins_starts_nothing(one_ray):
    script = Script([trial(epochs=1000) for _ in range(3)], drain_after=0)
    run_trials(script, payload(), cpu_slots(2))
    assert script.points == []
    assert set(script.states()) <= {"interrupted"}


def test_what_tune_writes_holds_nothing_of_the_conductors(one_ray, tmp_path, monkeypatch):
    """Its searcher, stopper and callbacks are pickled into a folder; a driver knows the store's password."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tune_loop.shutil, "rmtree", lambda *args, **kwargs: None)
    monkeypatch.setitem(RETRIES, Loss.PROCESS, 0)
    script = Script([trial(), trial(fault="die")], secret="hunter2-correct-horse")
    run_trials(script, payload(), cpu_slots(1))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "tuner.pkl" for path in written), "look where Tune writes now"
    assert not [path for path in written if b"hunter2" in path.read_bytes()]


def test_tunes_folder_is_gone_afterwards(one_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_trials(Script([trial()]), payload(), cpu_slots(1))
    assert list(tmp_path.iterdir()) == []
