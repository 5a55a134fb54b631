"""A Ray cluster of a test's own: a head with its Jobs API behind a token, ended with the test."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_S = 120  # of a head on a machine that is busy with other tests


@dataclass(frozen=True, kw_only=True)
class OwnCluster:
    url: str
    folder: Path  # Ray's: sessions, logs
    environment: dict[str, str] = field(repr=False)  # in which its token is found
    gcs: str = ""
    nodes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)  # besides the head

    def ask(self, path: str) -> str:
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def join(self, *, cpus: int) -> "subprocess.Popen[bytes]":
        """One node more; it is up some seconds later. Its agents' ports are its own, as the machine is shared."""
        agent, grpc, metrics = _free_ports(3)
        self.nodes.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", f"--address={self.gcs}"),
                    *(f"--num-cpus={cpus}", "--object-store-memory=100000000"),
                    *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}"),
                    # Of its own, as on a machine of its own: a lost node's agent clears what lies there
                    *(f"--metrics-export-port={metrics}", f"--temp-dir={self.folder.parent / f'n{len(self.nodes)}'}"),
                ],
                env={**self.environment, "OMP_NUM_THREADS": "1"},
                stdout=(self.folder.parent / f"node{len(self.nodes)}.log").open("w"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        return self.nodes[-1]

    def lose(self, node: "subprocess.Popen[bytes]") -> None:
        """All of its processes at once, as when its machine goes. Ray's daemons lead groups of their own."""
        parent = psutil.Process(node.pid)
        for process in [*parent.children(recursive=True), parent]:
            with suppress(psutil.Error):
                process.kill()
        node.wait(30)


@contextmanager
def own_cluster(*, cpus: int, by: Sequence[str] = ()) -> Iterator[OwnCluster]:
    """`by`: the words that the head is started by, as `uv run`; then Ray's own setting for that holds."""
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "TUNE_CNN_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"  # as an activated environment has it
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    # Below `uv run pytest` Ray would start each job's process by `uv run` too, in a copy of the working folder.
    below_uv = {"VIRTUAL_ENV": sys.prefix} if by else {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    gcs, dashboard, agent, grpc, metrics = _free_ports(5)
    head = subprocess.Popen(
        [
            *(*by, sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            f"--num-cpus={cpus}",
            *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
            *(f"--dashboard-agent-grpc-port={grpc}", f"--metrics-export-port={metrics}"),
            *("--object-store-memory=100000000", "--dashboard-host=127.0.0.1", f"--temp-dir={folder / 'ray'}"),
        ],
        env={**kept, **ours, **below_uv, "OMP_NUM_THREADS": "1"},
        stdout=(folder / "head.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    cluster = None
    try:
        cluster = OwnCluster(
            url=f"http://127.0.0.1:{dashboard}",
            folder=folder / "ray",
            environment={**kept, **ours, **({} if by else below_uv)},
            gcs=f"127.0.0.1:{gcs}",
        )
        _wait(cluster, head, folder / "head.log")
        yield cluster
    finally:
        for node in cluster.nodes if cluster else ():
            if node.poll() is None:
                cluster.lose(node)
        head.terminate()
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(cluster: OwnCluster, head: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            json.loads(cluster.ask("/api/jobs/"))
            return
        except (OSError, ValueError):
            assert head.poll() is None and time.monotonic() < until_s, log.read_text()[-3000:]
            time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
