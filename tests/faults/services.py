"""Faults of the MLflow server."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from faults.rows import Case, Row
from faults.search_under_test import wait_for


def with_server(case: Case) -> None:
    """MLflow behind a server of the row's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        case.port = free.getsockname()[1]
    case.search.options += ["--tracking-uri", f"http://127.0.0.1:{case.port}"]
    case.search.mlflow = case.search.folder / "server" / "mlflow.db"
    case.server = _start(case)


def _start(case: Case) -> "subprocess.Popen[bytes]":
    words = ["-m", "mlflow_server", "--port", str(case.port), "--folder", str(case.search.folder / "server")]
    server = case.search.spawn(sys.executable, *words, log="server.log", TMPDIR=str(case.search.folder))
    wait_for(lambda: _answers(case.port), "MLflow's server", within_s=180)
    return server


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def server_gone(number: int, for_s: float) -> Callable[[Case], None]:
    """All of its processes get the signal; it is back after so long."""

    def strike(case: Case) -> None:
        assert case.server is not None
        case.now()
        for process in case.search.of(case.server):
            process.send(number)
        time.sleep(for_s)
        if number == signal.SIGSTOP:
            for process in case.search.of(case.server):
                process.send(signal.SIGCONT)
        else:
            case.server.wait(60)
            case.server = _start(case)

    return strike


ROWS = [
    Row(
        family="services",
        part="MLflow server",
        fault=fault,
        strike=server_gone(number, for_s),
        prepare=with_server,
        search={"trials": 5},
        delivery=True,
    )
    for fault, number, for_s in (
        ("kill -9, back after 10 s", signal.SIGKILL, 10.0),
        ("SIGTERM, back after 10 s", signal.SIGTERM, 10.0),
        ("SIGSTOP for 30 s", signal.SIGSTOP, 30.0),
    )
]
