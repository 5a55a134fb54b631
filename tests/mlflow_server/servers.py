"""Servers as processes: started, asked over HTTP, stopped however a test ends."""

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 240  # a start imports MLflow in each of its processes, on a machine that may be busy
DATABASE_PASSWORD = "pg/%41 " + secrets.token_urlsafe(12)  # with what URLs escape


@dataclass(kw_only=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]  # JSON has no types


def ask(
    url: str, method: str = "GET", body: Any = None, login: tuple[str, str] | None = None, **headers: str
) -> Answer:
    """One request; refusals are answers too."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as got:
            return Answer(status=got.status, body=got.read(), headers=dict(got.headers))
    except urllib.error.HTTPError as error:
        return Answer(status=error.code, body=error.read(), headers=dict(error.headers))


@dataclass(kw_only=True)
class Running:
    """A server that answers."""

    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any]
    start: Callable[[], "Running"]
    login: tuple[str, str] | None = None

    def revive(self) -> None:
        """Start it again with what it holds, where a test has ended it."""
        if self.process.poll() is not None:
            again = self.start()
            self.process, self.log, self.ready = again.process, again.log, again.ready

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def folder(self) -> Path:
        return Path(self.ready["folder"])

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: Any) -> Answer:
        """As the administrator, where there is one."""
        return ask(self.url + path, method, body, **{"login": self.login, **headers})

    def said(self) -> str:
        return self.log.read_text()


@dataclass(kw_only=True)
class Starter:
    """Starts servers and stops them, however the test went."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *options: str, login: tuple[str, str] | None = None, **environment: str) -> Running:
        process, log = self.launch(*options, **environment)
        assert process.stdout is not None
        line = process.stdout.readline()  # comes when it is ready, or empty when it ended
        assert line, f"the server ended with {process.wait()}:\n{log.read_text()}"

        def start() -> Running:
            return self(*options, login=login, **environment)

        return Running(process=process, log=log, ready=json.loads(line), start=start, login=login)

    def launch(self, *options: str, **environment: str) -> tuple[subprocess.Popen[str], Path]:
        log = self.folder / f"log-{len(self.running)}"
        with log.open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow_server", "--json", "--port", "0", *options],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                cwd=self.folder,
                env={**plain_environment(), **environment},
            )
        self.running.append(process)
        return process, log

    def stop(self) -> None:
        for process in self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def plain_environment() -> dict[str, str]:
    """This process's environment without MLflow's and PostgreSQL's variables, and pytest's, which MLflow looks at."""
    mine = ("MLFLOW_", "_MLFLOW_", "PG", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}


def private_file(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def stopped(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def stop(server: Running, number: int = signal.SIGTERM) -> int:
    server.process.send_signal(number)
    return server.process.wait(PATIENCE_S)
