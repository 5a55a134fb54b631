"""What the meters know of the hardware, under the names by which MLflow's own tab of system metrics finds it.

MLflow samples from a thread, every ten seconds by default, so a trial that trains for three has no sample. The meters
read at each epoch's end what holds for the whole trial so far: every trial has a value for every epoch.
"""

from collections.abc import Mapping

PREFIX = "system/"
_SAME = {
    "cpu_util_pct": "cpu_utilization_percentage",  # of the trial's processes, 100 is one core
    "gpu_util_pct": "gpu_utilization_percentage",
    "sm_active_pct": "gpu_sm_active_percentage",
}
_MEMORY = "memory_usage_megabytes"
MIB = 2**20 / 1e6  # in megabytes, which MLflow counts


def system_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Of one epoch point: means and peaks over the trial so far; what was not measured is absent."""
    named = {PREFIX + name: metrics[ours] for ours, name in _SAME.items() if ours in metrics}
    if "peak_memory_mib" in metrics:
        device = "gpu_" if "gpu_seconds" in metrics else "system_"
        named[f"{PREFIX}{device}{_MEMORY}"] = metrics["peak_memory_mib"] * MIB
    if "gpu_energy_j" in metrics and metrics.get("train_time_s", 0.0) > 0:
        named[f"{PREFIX}gpu_power_usage_watts"] = metrics["gpu_energy_j"] / metrics["train_time_s"]
    return named
