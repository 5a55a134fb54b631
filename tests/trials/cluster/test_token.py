"""Who may speak to a Ray that is started here: its ports are open to other machines."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.trials import ray_settings

ASK = """
import sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
print("let in:", len(client.get_all_node_info(timeout=10)))
"""


def asked_with(environment: dict[str, str], address: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | environment
    once = {"RAY_NUM_REDIS_GET_RETRIES": "0", "RAY_gcs_rpc_server_connect_timeout_s": "1"}
    command = [sys.executable, "-c", ASK, address]
    return subprocess.run(command, env=env | once, capture_output=True, text=True, timeout=120)


def test_a_ray_of_ours_lets_nobody_in_without_its_token(one_ray: None, tmp_path: Path) -> None:
    """Not without any, not with another one; with it, yes."""
    import ray

    address = ray.get_runtime_context().gcs_address
    (tmp_path / "token").write_text("0" * 64)
    nobody = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}
    other = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    for environment in (nobody, other):
        refused = asked_with(environment, address)
        assert refused.returncode != 0 and "InvalidAuthToken" in refused.stderr, refused.stderr
    assert "let in: 1" in asked_with({"RAY_AUTH_MODE": "token"}, address).stdout


def test_the_token_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0600, also that of a file that Ray has written; one that stands is kept."""
    path = tmp_path / "home" / "auth_token"
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    ray_settings.make_token()
    made = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(made) == 64
    path.chmod(0o644)
    ray_settings.make_token()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == made
