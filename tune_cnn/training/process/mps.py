"""NVIDIA's MPS daemon, under which processes compute on one GPU at the same time, each on its share of the SMs.

Without it they take turns in time slices. https://docs.nvidia.com/deploy/mps/
"""

import os
from collections.abc import Mapping
from pathlib import Path

PIPES = "CUDA_MPS_PIPE_DIRECTORY"
SM_SHARE_PCT = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"


def mps_runs(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the daemon listens where a process with this environment looks for it."""
    return (Path(environment.get(PIPES) or "/tmp/nvidia-mps") / "control").exists()  # its own default


def cap_sms(share: float) -> None:
    """Hold this process to its share of a GPU's SMs, where the daemon runs and the user has set nothing else.

    CUDA reads it once, as it starts in a process: call it before anything does. What a child is told it inherits.
    """
    if 0 < share < 1 and mps_runs():
        os.environ.setdefault(SM_SHARE_PCT, f"{100 * share:g}")
