"""A GPU's utilisation, SM activity, energy and price: the arithmetic anywhere, the readings on a real device."""

import subprocess
import time
from collections.abc import Callable

import pytest
import torch
from ranks import digits_job

from tune_cnn.training.meters.gpu import GpuEnergy, GpuSeconds, GpuUtil, SmActive
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.meters.nvml import Nvml
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.reduction import reduce_metrics

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


# ---- a GPU's readings, as a device gives them (no device here: the arithmetic alone)


class Readings:
    """A declared sequence of a device's readings; None is a reading that failed."""

    def __init__(self, util=(), energy=(), sm=(), gpm: bool = True) -> None:
        self.util, self.energy, self.sm, self.gpm = list(util), list(energy), list(sm), gpm

    def gpu_util_pct(self) -> float | None:
        return self.util.pop(0)

    def total_energy_j(self) -> float | None:
        return self.energy.pop(0)

    def start_sm_window(self) -> bool:
        return self.gpm

    def sm_active_pct(self) -> float | None:
        return self.sm.pop(0)


def test_utilisation_is_weighted_by_time_within_stretches():
    """90 % for 1 s and 30 % for 3 s, a pause of 96 s that doesn't count, then 60 % for 2 s: 50 %."""
    meter = GpuUtil(Readings(util=[90, 30, 60]))
    meter.enter(0.0)
    meter.sample(1.0)
    meter.leave(4.0)
    meter.enter(100.0)
    meter.leave(102.0)
    assert meter.read() == {"gpu_util_pct": pytest.approx((90 * 1 + 30 * 3 + 60 * 2) / 6)}


def test_a_failed_utilisation_reading_weighs_nothing():
    """Its seconds are not credited to the next reading."""
    meter = GpuUtil(Readings(util=[None, 80]))
    meter.enter(0.0)
    meter.sample(9.0)
    meter.leave(10.0)
    assert meter.state_dict() == {"gpu_util_weighted": 80.0, "gpu_util_seconds": 1.0}


def test_energy_is_what_the_counter_moved_within_stretches():
    """The counter runs on between stretches; that part is left out."""
    meter = GpuEnergy(Readings(energy=[1000.0, 1200.0, 5000.0, 5050.0]))
    for begin, end_s in ((0.0, 1.0), (10.0, 11.0)):
        meter.enter(begin)
        meter.leave(end_s)
    assert meter.read() == {"gpu_energy_j": 250.0}


@pytest.mark.parametrize("energy", [[None, 10.0], [10.0, None], [10.0, 3.0]])
def test_energy_with_a_part_missing_is_absent(energy):
    """A sum that lacks a stretch would be too small, so from then on there is none."""
    meter = GpuEnergy(Readings(energy=[*energy, 20.0, 30.0]))
    for begin in (0.0, 1.0):
        meter.enter(begin)
        meter.leave(begin + 0.5)
    assert meter.read() == {}


def test_energy_is_absent_where_a_trial_began_on_hardware_without_it():
    """Restarted on a device with a counter, the first part's energy is still unknown."""
    meter = GpuEnergy(Readings(energy=[0.0, 5.0]))
    meter.load_state_dict({"train_time_s": 12.0})
    meter.enter(0.0)
    meter.leave(1.0)
    assert meter.read() == {}


def test_sm_activity_is_weighted_over_windows_and_short_ends_are_left_out():
    """Windows of 5 s and 1 s count by length; a stretch of 50 ms is too short for the hardware's counters."""
    meter = SmActive(Readings(sm=[40.0, 70.0]))
    meter.enter(0.0)
    meter.sample(3.0)
    meter.sample(5.0)
    meter.leave(6.0)
    meter.enter(10.0)
    meter.leave(10.05)
    assert meter.read() == {"sm_active_pct": pytest.approx((40 * 5 + 70 * 1) / 6)}


def test_a_trial_of_short_epochs_is_measured_over_several_of_them():
    """Epochs of 50 ms, 20 ms apart: a value after the first, which waits for the rest of a window, then one from every
    two of them."""
    now_s = 100.0
    rested: list[float] = []

    def rest(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        rested.append(seconds)

    meter = SmActive(Readings(sm=[10.0, 40.0, 70.0]), clock=lambda: now_s, rest=rest)
    read = []
    for _ in range(5):
        meter.enter(now_s)
        now_s += 0.05
        meter.leave(now_s)
        now_s += 0.02
        read.append(meter.read().get("sm_active_pct"))
    assert read == pytest.approx([10.0, 10.0, (10 * 1 + 40 * 2) / 3, (10 + 40 * 2) / 3, (10 + 40 * 2 + 70 * 2) / 5])
    assert rested == [pytest.approx(0.03)]
    again = SmActive(Readings())
    again.load_state_dict(meter.state_dict())
    assert again.read() == meter.read()


def test_a_window_of_training_alone_stands_above_those_with_pauses():
    """A long epoch after short ones: theirs no longer count."""
    meter = SmActive(Readings(sm=[10.0, 20.0, 80.0]), clock=lambda: 0.1, rest=lambda seconds: None)
    meter.enter(0.0)
    meter.leave(0.05)
    assert meter.read() == {"sm_active_pct": 10.0}
    for begin, end_s in ((1.0, 1.05), (2.0, 2.01), (3.0, 4.0), (5.0, 5.05)):
        meter.enter(begin)
        meter.leave(end_s)
    assert meter.read() == {"sm_active_pct": 80.0}


def test_sm_activity_is_absent_before_hopper():
    """Where there is no GPM there is no metric, and the device isn't asked."""
    meter = SmActive(Readings(gpm=False))
    meter.enter(0.0)
    meter.leave(20.0)
    assert meter.read() == {}


def test_gpu_seconds_price_a_share_and_keep_the_price_of_before_a_restart():
    """A quarter of a device for 8 s costs 2; restarted on a half, 4 s more cost another 2."""
    meter = GpuSeconds(0.25)
    meter.enter(0.0)
    meter.leave(8.0)
    assert meter.read() == {"gpu_seconds": 2.0}
    later = GpuSeconds(0.5)
    later.load_state_dict(meter.state_dict())
    later.enter(0.0)
    later.leave(4.0)
    assert later.read() == {"gpu_seconds": pytest.approx(4.0)}


def test_gpu_seconds_of_ranks_are_added_up():
    """Each rank pays for its share of a device and its own time; a rank may have gone on from another share."""
    ranks = []
    for before, seconds in ((1.5, 8.0), (0.5, 6.0)):
        meter = GpuSeconds(0.25)
        meter.load_state_dict({"gpu_seconds": before})
        meter.enter(0.0)
        meter.leave(seconds)
        ranks.append(meter.read())
    assert reduce_metrics(ranks) == {"gpu_seconds": 1.5 + 0.25 * 8 + 0.5 + 0.25 * 6}


GPU_METERS: list[tuple[Callable, dict[str, list[float]]]] = [
    (GpuUtil, {"util": [50.0, 50.0]}),
    (SmActive, {"sm": [50.0, 50.0]}),
    (GpuEnergy, {"energy": [0.0, 50.0, 90.0, 95.0]}),
]


@pytest.mark.parametrize(("kind", "readings"), GPU_METERS)
def test_gpu_meters_begin_at_zero_and_go_on_from_a_state(kind, readings):
    """begin() forgets, load_state_dict() remembers."""
    meter = kind(Readings(**readings))
    meter.enter(0.0)
    meter.leave(1.0)
    read, state = meter.read(), {"train_time_s": 1.0, **meter.state_dict()}
    assert read
    meter.begin()
    assert meter.read() == {}
    meter.load_state_dict(state)
    assert meter.read() == read


def test_a_device_that_nvml_does_not_know_has_no_readings(caplog):
    """Without NVML, or for a UUID that it doesn't know, there is None and a line that says why."""
    assert Nvml.open("00000000-0000-0000-0000-000000000000") is None
    assert "no utilisation and energy of the GPU" in caplog.text


# ---- a real device


def busy_device(seconds: float) -> None:
    a = torch.randn(4096, 4096, device="cuda")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(20):
            a = (a @ a).clamp_(-1, 1)
        torch.cuda.synchronize()


def nvidia_smi(field: str) -> float:
    uuid = str(torch.cuda.get_device_properties(0).uuid).removeprefix("GPU-")
    command = ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.gpu
@needs_gpu
def test_a_whole_device_is_metered_as_nvidia_smi_does():
    """Utilisation near nvidia-smi's on a busy device, mean power within the device's limit, the UUID's device."""
    meters = Meters(torch.device("cuda"), gpu_share=1.0)
    meters.begin()
    with meters.training():
        busy_device(3.0)
        smi_util_pct = nvidia_smi("utilization.gpu")
        busy_device(1.0)
    read = meters.read()
    meters.close()
    assert abs(read["gpu_util_pct"] - smi_util_pct) < 25
    assert 10 < read["gpu_energy_j"] / read["train_time_s"] < 1.1 * nvidia_smi("power.limit")
    assert read["gpu_seconds"] == pytest.approx(read["train_time_s"])
    assert read["peak_memory_mib"] >= 64
    if torch.cuda.get_device_capability() >= (9, 0):
        assert 50 < read["sm_active_pct"] <= 100


@pytest.mark.gpu
@needs_gpu
def test_a_shared_device_tells_nothing_of_one_trial():
    """With a share below 1 only what is this process's own is there."""
    meters = Meters(torch.device("cuda"), gpu_share=0.25)
    meters.begin()
    with meters.training():
        busy_device(0.3)
    read = meters.read()
    meters.close()
    assert not {"gpu_util_pct", "sm_active_pct", "gpu_energy_j"} & set(read)
    assert read["gpu_seconds"] == pytest.approx(0.25 * read["train_time_s"])


@pytest.mark.gpu
@needs_gpu
def test_a_trial_resumed_on_another_share_keeps_its_price(tmp_path):
    """An epoch on half a device, the next on a quarter: each at its own price, in the metrics of the trial."""
    costs = []
    for share in (0.5, 0.25):
        rank = RankTraining()
        job = {
            "gpu_share": share,
            "slots_per_gpu": 1,
            "checkpoint_dir": str(tmp_path / "kept"),
            "checkpoint_every_s": 0.0,
        }
        assert rank.begin(digits_job(tmp_path, job=job)) == len(costs)
        costs.append(rank.train_epoch().metrics)
        rank.end()
    seconds = [cost["train_time_s"] for cost in costs]
    expected = 0.5 * seconds[0] + 0.25 * (seconds[1] - seconds[0])
    assert costs[1]["gpu_seconds"] == pytest.approx(expected, rel=0.05)


@pytest.mark.gpu
@needs_gpu
def test_the_clock_waits_for_the_device():
    """A stretch lasts until its kernels have run, by the device's own events."""
    meters = Meters(torch.device("cuda"), gpu_share=0.5)
    meters.begin()
    a = torch.randn(8192, 8192, device="cuda")
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with meters.training():
        start.record()
        for _ in range(20):
            a @ a
        stop.record()
    assert meters.read()["train_time_s"] >= start.elapsed_time(stop) / 1e3
    meters.close()
