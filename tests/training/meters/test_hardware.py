"""System metrics by node and GPU, from what each rank's meters say."""

import re

import pytest
import torch

from tune_cnn.training.meters.hardware import Place, by_hardware, place


def test_ranks_of_a_node_are_added_and_gpus_stand_apart() -> None:
    """As on two nodes, one of them with two of a trial's ranks; what was not measured is absent."""
    of_gpu = {"cpu_util_pct": 90.0, "gpu_util_pct": 70.0, "gpu_energy_j": 300.0, "train_time_s": 2.0}
    places = [Place(node="a", gpu="0"), Place(node="a", gpu="3"), Place(node="b", gpu=None)]
    found = by_hardware(places, [of_gpu | {"peak_memory_mib": 1000.0}, of_gpu, {"peak_memory_mib": 500.0}])
    assert found == pytest.approx(
        {
            "system/a/cpu_utilization_percentage": 180.0,
            "system/a/gpu_0_utilization_percentage": 70.0,
            "system/a/gpu_3_utilization_percentage": 70.0,
            "system/a/gpu_0_power_usage_watts": 150.0,
            "system/a/gpu_3_power_usage_watts": 150.0,
            "system/a/gpu_0_memory_usage_megabytes": 1048.576,
            "system/b/system_memory_usage_megabytes": 524.288,
        }
    )


def test_a_gpu_has_its_number_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray shows a process its own devices alone, which torch then counts from 0."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,2")
    assert place(torch.device("cuda", 1)).gpu == "2"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert place(torch.device("cuda", 1)).gpu == "1"
    here = place(torch.device("cpu"))
    assert here.gpu is None and re.fullmatch(r"[\w.-]+", here.node)
