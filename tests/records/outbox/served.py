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
TRIES = 3  # of ports: another process may take one between our look at it and the server's


@dataclass(frozen=True, kw_only=True)
class Served:
    uri: str
    port: int
    folder: Path


@contextmanager
def serve(folder: Path, *, backend: str | None = None) -> Iterator[Served]:
    for left in reversed(range(TRIES)):
        port = free_port()
        uri, log = f"http://127.0.0.1:{port}", folder / "server.log"
        process = start(folder, port, log, backend or f"sqlite:///{folder}/mlflow.db")
        try:
            try:
                wait_for(uri, process, log)
            except AssertionError:
                if left and "address already in use" in log.read_text():
                    continue
                raise
            yield Served(uri=uri, port=port, folder=folder)
            return
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def start(folder: Path, port: int, log: Path, backend: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")]
    environment = outbox_environment(os.environ, f"http://127.0.0.1:{port}") | QUIET
    with log.open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=environment)


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
