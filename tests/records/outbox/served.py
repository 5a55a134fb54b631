"""MLflow's own server as a process of the test's."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.records.mlflow.environment import outbox_environment

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it would start processes of its own
PATIENCE_S = 180.0  # for a start; importing MLflow alone takes long on a machine that is busy


@dataclass(frozen=True, kw_only=True)
class Served:
    uri: str
    port: int
    folder: Path


@contextmanager
def serve(folder: Path, *, backend: str | None = None) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend or f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    uri = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        environment = outbox_environment(os.environ, uri) | QUIET
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        wait_for(uri, process, folder / "server.log")
        yield Served(uri=uri, port=port, folder=folder)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def wait_for(uri: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"MLflow's server did not start:\n{log.read_text()}")


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])
