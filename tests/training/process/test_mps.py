"""Where NVIDIA's MPS daemon runs, a process that shares a GPU has its share of the SMs; elsewhere nothing is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.training.process.mps import PIPES, SM_SHARE_PCT, cap_sms, mps_runs


@pytest.fixture
def pipes(tmp_path, monkeypatch) -> Path:
    """The folder of a daemon that doesn't run yet."""
    monkeypatch.setenv(PIPES, str(tmp_path))
    monkeypatch.delenv(SM_SHARE_PCT, raising=False)
    return tmp_path


@pytest.mark.parametrize(("share", "told"), [(0.25, "25"), (0.3, "30"), (0.125, "12.5"), (1.0, None), (0.0, None)])
def test_a_share_caps_the_sms_where_the_daemon_runs(pipes, share, told):
    """A whole GPU and a CPU have no cap."""
    cap_sms(share)
    assert SM_SHARE_PCT not in os.environ
    (pipes / "control").touch()
    cap_sms(share)
    assert os.environ.pop(SM_SHARE_PCT, None) == told


def test_what_the_user_has_set_stays(pipes, monkeypatch):
    (pipes / "control").touch()
    monkeypatch.setenv(SM_SHARE_PCT, "40")
    cap_sms(0.25)
    assert os.environ[SM_SHARE_PCT] == "40"


def test_the_daemon_is_looked_for_in_its_own_folder_by_default(tmp_path):
    """As CUDA does; an empty name is no name."""
    assert mps_runs({PIPES: str(tmp_path)}) is False
    assert mps_runs({}) == mps_runs({PIPES: ""}) == Path("/tmp/nvidia-mps/control").exists()


def test_capping_imports_nothing_that_starts_cuda():
    """The cap must stand before CUDA starts in the process."""
    script = "import sys, tune_cnn.training.process.mps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
