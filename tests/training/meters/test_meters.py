"""Meters measure stretches of training, each number by its definition, and are absent where the hardware is."""

import mmap
import multiprocessing
import subprocess
import sys
import threading
import time

import pytest
import torch

from tune_cnn.metrics import METRICS
from tune_cnn.training.meters.clock import TrainClock
from tune_cnn.training.meters.data_wait import DataWait
from tune_cnn.training.meters.memory import ResidentMemory
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.meters.processes import Family
from tune_cnn.training.meters.sampler import Sampler

MIB = 2**20


def spin(cpu_s: float) -> None:
    """Burn so many seconds of this process's CPU time."""
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        sum(range(1000))


@pytest.fixture
def meters():
    made = Meters(torch.device("cpu"), gpu_share=0.0)
    made.begin()
    yield made
    made.close()


def train(meters: Meters, batches: int = 3, images: int = 8) -> None:
    meters.epoch()
    with meters.training():
        for _ in meters.watch(range(batches)):
            spin(0.02)
            meters.step(images)


# ---- the whole, on a CPU


def test_a_cpu_gives_the_metrics_that_it_can_measure_and_no_others(meters):
    """All names are in the table; GPU metrics are absent, not zero."""
    train(meters)
    read = meters.read()
    assert set(read) == {
        "train_time_s",
        "data_wait_s",
        "step_time_ms",
        "images_per_s",
        "cpu_util_pct",
        "peak_memory_mib",
    }
    assert set(read) <= set(METRICS)
    assert all(value > 0 for value in read.values())


def test_the_parts_agree_with_each_other(meters):
    """Time, steps and images of an epoch tell the same story by step_time_ms and images_per_s."""
    train(meters, batches=5, images=8)
    read = meters.read()
    assert read["step_time_ms"] == pytest.approx(1e3 * read["train_time_s"] / 5)
    assert read["images_per_s"] == pytest.approx(40 / read["train_time_s"])
    assert read["train_time_s"] >= 0.1  # 5 × 20 ms of CPU time take at least as long
    assert read["data_wait_s"] < read["train_time_s"]


def test_time_and_cpu_outside_stretches_do_not_count(meters):
    """Evaluation between two stretches adds nothing to what is measured over stretches."""
    train(meters)
    before = meters.state_dict()
    spin(0.1)
    after = meters.state_dict()
    for name in ("train_time_s", "cpu_time_s", "data_wait_s"):
        assert after[name] == before[name]


def test_a_trial_begins_at_zero(meters):
    """Nothing of the former trial in a warm process is left in the next one's numbers."""
    train(meters)
    meters.begin()
    read = meters.read()
    assert read["train_time_s"] == 0 and read["data_wait_s"] == 0
    assert not {"step_time_ms", "images_per_s", "cpu_util_pct"} & set(read)


def test_cumulative_numbers_go_on_after_a_restart(meters):
    """A checkpoint's state, loaded by another process's meters, is where they go on from."""
    train(meters)
    state = meters.state_dict()
    assert all(type(value) is float for value in state.values())
    resumed = Meters(torch.device("cpu"), gpu_share=0.0)
    resumed.begin()
    resumed.load_state_dict(state)
    assert resumed.read()["train_time_s"] == state["train_time_s"]
    train(resumed)
    read = resumed.read()
    assert read["train_time_s"] >= state["train_time_s"] + 0.06
    assert read["data_wait_s"] > state["data_wait_s"]
    assert read["step_time_ms"] < 1e3 * read["train_time_s"] / 3  # of its own epoch alone
    resumed.close()


def test_an_error_within_a_stretch_ends_it(meters):
    """What a failed step took is counted, the error comes through, the sampler ends, and meters still work."""
    with pytest.raises(RuntimeError, match="boom"), meters.training():
        raise RuntimeError("boom")
    assert "tune-cnn-meters" not in [thread.name for thread in threading.enumerate()]
    train(meters)
    assert meters.read()["train_time_s"] > 0


def test_stretches_do_not_nest(meters):
    """A stretch within a stretch would count twice."""
    with pytest.raises(AssertionError, match="nest"), meters.training(), meters.training():
        pass


def test_no_thread_outlives_close(meters):
    """close() twice is fine, also in the middle of an abandoned stretch."""
    stretch = meters.training()
    stretch.__enter__()
    assert "tune-cnn-meters" in [thread.name for thread in threading.enumerate()]
    meters.close()
    meters.close()
    assert "tune-cnn-meters" not in [thread.name for thread in threading.enumerate()]


# ---- clock and data wait


def test_speed_is_of_the_last_epoch_and_time_of_the_trial():
    """Two epochs of 10 s and 4 s: train_time_s 14, the step and image rates those of the second."""
    clock = TrainClock()
    for begin, end, steps in ((100.0, 110.0, 5), (200.0, 204.0, 4)):
        clock.epoch()
        clock.enter(begin)
        for _ in range(steps):
            clock.step(16)
        clock.leave(end)
    assert clock.read() == {"train_time_s": 14.0, "step_time_ms": 1000.0, "images_per_s": 16.0}


def test_an_epoch_in_several_stretches_is_one_epoch():
    """A pause within an epoch (a checkpoint) is in neither time nor rate."""
    clock = TrainClock()
    for begin, end in ((0.0, 1.0), (50.0, 51.0)):
        clock.enter(begin)
        clock.step(10)
        clock.leave(end)
    assert clock.read() == {"train_time_s": 2.0, "step_time_ms": 1000.0, "images_per_s": 10.0}


def test_waiting_is_the_loaders_time_and_not_the_steps(monkeypatch):
    """A loader that takes 2 s a batch and 1 s to notice its end, steps of 5 s: 3 × 2 + 1 s of waiting."""
    now_s = [0.0]
    monkeypatch.setattr("tune_cnn.training.meters.data_wait.perf_counter", lambda: now_s[0])

    def loader():
        for batch in range(3):
            now_s[0] += 2.0
            yield batch
        now_s[0] += 1.0

    wait = DataWait()
    seen = []
    for batch in wait.watch(loader()):
        now_s[0] += 5.0
        seen.append(batch)
    assert seen == [0, 1, 2]
    assert wait.read() == {"data_wait_s": 7.0}


def test_batches_that_count_their_wait_are_believed(monkeypatch):
    """Of 2 s in `next` the data took half a second: the rest was a device whose queue was full."""
    now_s = [0.0]
    monkeypatch.setattr("tune_cnn.training.meters.data_wait.perf_counter", lambda: now_s[0])

    class Counting:
        waited_s = 3.0  # from before

        def __init__(self) -> None:
            self.left = 4

        def __iter__(self):
            return self

        def __next__(self) -> int:
            now_s[0] += 2.0
            self.waited_s += 0.5
            self.left -= 1
            if not self.left:
                raise StopIteration
            return self.left

    wait = DataWait()
    assert list(wait.watch(Counting())) == [3, 2, 1]
    assert wait.read() == {"data_wait_s": 2.0}


def test_batches_of_none_and_errors_of_the_loader_come_through():
    """None is a batch like another; the loader's error is not swallowed."""
    wait = DataWait()
    assert list(wait.watch([None, None])) == [None, None]

    def broken():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(wait.watch(broken()))


# ---- processes


def run_child(code: str) -> subprocess.Popen:
    """A child that runs `code`, says a line, and waits to be let go."""
    program = f"import sys, time\n{code}\nprint('ready', flush=True)\nsys.stdin.readline()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen) -> None:
    child.communicate("go\n")


BURN = "until = time.process_time() + 0.3\nwhile time.process_time() < until: pass"


@pytest.mark.parametrize("ends_within", [True, False])
def test_cpu_time_of_loader_workers_counts(meters, ends_within):
    """A worker's CPU time counts whether it lives on or ended within the stretch."""
    with meters.training():
        child = run_child(BURN)
        if ends_within:
            end(child)
    assert meters.state_dict()["cpu_time_s"] >= 0.28  # the kernel counts in ticks of 10 ms
    if not ends_within:
        end(child)


def test_cpu_time_of_before_a_stretch_does_not_come_in_by_a_worker_that_ends_within(meters):
    """What a worker used before the stretch stays out, though its parent is credited with all of it at its end."""
    child = run_child(BURN)
    with meters.training():
        end(child)
    assert meters.state_dict()["cpu_time_s"] < 0.28


def test_memory_held_for_a_moment_within_a_stretch_is_seen():
    """A sample while it is held keeps the peak after it is given back.

    The pages are the kernel's: the C library's heap may still hold what earlier tests of this process have freed, and
    a block from there makes nothing more resident.
    """
    meter = ResidentMemory(Family())
    meter.begin()
    meter.enter(0.0)
    before_mib = meter.read()["peak_memory_mib"]
    with mmap.mmap(-1, 100 * MIB) as held:
        held.write(b"x" * (100 * MIB))
        meter.sample(0.1)
    meter.leave(0.2)
    assert meter.read()["peak_memory_mib"] >= before_mib + 95


def test_a_workers_own_memory_counts_and_what_it_shares_does_not():
    """A child's 64 MiB of its own count, a shared mapping of 64 MiB only once, in the process that trains."""
    family = Family()
    family.refresh()
    before = family.resident_bytes()
    child = run_child("held = bytearray(b'x') * (64 * 2**20)")
    family.refresh()
    assert family.resident_bytes() - before >= 64 * MIB
    end(child)
    shared = run_child("import mmap\nheld = mmap.mmap(-1, 64 * 2**20)\nheld.write(b'x' * (64 * 2**20))")
    family.refresh()
    assert family.resident_bytes() - before < 64 * MIB
    end(shared)


def _hold_until(event) -> None:
    event.wait(60)


def test_workers_of_a_fork_server_belong_to_the_family():
    """They are children of the server, grandchildren of the rank."""
    context = multiprocessing.get_context("forkserver")
    event = context.Event()
    worker = context.Process(target=_hold_until, args=(event,))
    worker.start()
    family = Family()
    family.refresh()
    assert worker.pid in [process.pid for process in family._descendants]
    event.set()
    worker.join()
    assert family.cpu_time_s() > 0 and family.resident_bytes() > 0  # an ended worker is no error


# ---- the sampler


def test_the_sampler_samples_until_it_is_stopped():
    """It calls from a thread of its own, and never after stop() returned."""
    called = threading.Event()
    calls: list[str] = []

    def sample() -> None:
        calls.append(threading.current_thread().name)
        called.set()

    sampler = Sampler(sample)
    sampler.start()
    assert called.wait(60)
    sampler.stop()
    seen = len(calls)
    assert set(calls) == {"tune-cnn-meters"}
    assert not called.wait(0) or len(calls) == seen
    sampler.stop()


def test_the_sampler_rests_a_thousand_times_what_a_sample_cost(monkeypatch):
    """Whatever a sample costs, the sampler takes at most a thousandth of a core."""
    rests: list[float] = []
    cpu_s = [0.0]

    def sample() -> None:
        cpu_s[0] += 0.004

    sampler = Sampler(sample)

    def wait(rest_s: float) -> bool:
        rests.append(rest_s)
        return len(rests) == 3

    monkeypatch.setattr(sampler._stopped, "wait", wait)
    monkeypatch.setattr("tune_cnn.training.meters.sampler.time.thread_time", lambda: cpu_s[0])
    sampler._run()
    assert rests == pytest.approx([0.1, 4.0, 4.0])


def test_importing_the_meters_starts_nothing():
    """No thread and no NVML at import."""
    code = (
        "import tune_cnn.training.meters.meters, pynvml, threading;"
        "print(pynvml.nvmlLib is None, threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]
