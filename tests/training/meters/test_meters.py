"""Meters measure stretches of training, each number by its definition, and are absent where the hardware is."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from tune_cnn.metrics import METRICS
from tune_cnn.training.meters.meters import Meters


def spin(cpu_s: float) -> None:
    """Burn so many seconds of this process's CPU time."""
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        sum(range(1000))


def train(meters: Meters, batches: int = 3, images: int = 8) -> None:
    meters.epoch()
    with meters.training():
        for _ in meters.watch(range(batches)):
            spin(0.02)
            meters.step(images)


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


def test_importing_the_meters_starts_nothing():
    """No thread and no NVML at import."""
    code = (
        "import tune_cnn.training.meters.meters, pynvml, threading;"
        "print(pynvml.nvmlLib is None, threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]
