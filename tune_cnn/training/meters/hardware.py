"""What each node and GPU of a trial did, under the names by which MLflow's own tab of system metrics finds it.

MLflow samples from a thread, every ten seconds by default, so a trial that trains for three has no sample. The meters
read at each epoch's end what holds for the whole trial so far: every trial has a value for every epoch.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tune_cnn.metrics import SYSTEM

MIB = 2**20 / 1e6  # in megabytes, which MLflow counts
_OF_GPU = {"gpu_util_pct": "utilization_percentage", "sm_active_pct": "sm_active_percentage"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rank trains."""

    node: str
    gpu: str | None  # its number on the node, None on a CPU


def place(device: torch.device) -> Place:
    node = re.sub(r"[^\w.-]", "_", platform.node()) or "node"
    if device.type != "cuda":
        return Place(node=node, gpu=None)
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    index = device.index or 0
    gpu = visible[index] if index < len(visible) else str(index)  # Ray shows a process its own devices alone
    return Place(node=node, gpu=re.sub(r"[^\w.-]", "_", gpu))


def by_hardware(places: Sequence[Place], of_ranks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """system/<node>/…: means and peaks over the trial so far, of its own processes; what was not measured is absent."""
    found: dict[str, float] = {}
    for where, metrics in zip(places, of_ranks, strict=True):
        node = f"{SYSTEM}{where.node}/"
        gpu = f"{node}gpu_{where.gpu}_"
        told = {f"{gpu}{name}": metrics[ours] for ours, name in _OF_GPU.items() if ours in metrics}
        if "cpu_util_pct" in metrics:
            told[f"{node}cpu_utilization_percentage"] = metrics["cpu_util_pct"]  # 100 is one core
        if "peak_memory_mib" in metrics:
            owner = f"{node}system_" if where.gpu is None else gpu
            told[f"{owner}memory_usage_megabytes"] = metrics["peak_memory_mib"] * MIB
        if "gpu_energy_j" in metrics and metrics.get("train_time_s", 0.0) > 0:
            told[f"{gpu}power_usage_watts"] = metrics["gpu_energy_j"] / metrics["train_time_s"]
        for name, value in told.items():  # ranks of one node: the sum of what they took; of a GPU there is one rank
            found[name] = found.get(name, 0.0) + value
    return found
