"""The server as a child: started with nothing in its arguments, watched until it is ready, stopped whole."""

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from mlflow_server.addresses import Address
from mlflow_server.environment import cleaned
from mlflow_server.errors import ServerError, WrongInput
from mlflow_server.settings import Settings

LOOK_EVERY_S = 0.2
STOP_WITHIN_S = 20  # the server gives requests under way half of it


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One server a folder; the lock goes with the process, however it ends."""
    with os.fdopen(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(
                f"--folder {folder}: another server runs from it; stop it, or give another folder"
            ) from None
        yield


def run(
    settings: Settings,
    listener: socket.socket,
    address: Address,
    environment: Mapping[str, str],
    when_ready: Callable[[int], None],
) -> None:
    """Start the server, tell `when_ready` its process id once it answers, return when it was stopped by a signal.

    Raises ServerError or WrongInput where it ends by itself; it has said on stderr why.
    """
    with _stop_asked() as stop:
        child = _start(settings, listener, environment)
        try:
            if _wait_until_ready(child, address, listener.getsockname()[1], stop):
                when_ready(child.pid)
            while child.poll() is None and not stop.wait(LOOK_EVERY_S):
                pass
            ended = child.poll()
        finally:
            _stop(child)
    if ended is not None and not stop.is_set():
        raise Ended(ended)


class Ended(ServerError):
    """The server's process ended by itself."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server ended by itself ({_ending(code)})")
        self.exit_code = code if code in (1, 2) else 1
        self.said_why = code in (1, 2)


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _start(settings: Settings, listener: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlflow_server.serve"],
        stdin=subprocess.PIPE,
        stdout=sys.stderr.fileno(),  # ours carries what a script reads
        env=cleaned(environment)[0],
        pass_fds=[listener.fileno()],
        start_new_session=True,  # a Ctrl-C reaches us alone, and its whole group can be stopped
    )
    given = {"settings": asdict(settings), "listener": listener.fileno(), "parent": os.getpid()}
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it ended already: seen by whoever waits for it
        child.stdin.write(json.dumps(given).encode() + b"\n")
        child.stdin.close()
    return child


def _wait_until_ready(child: subprocess.Popen[bytes], address: Address, port: int, stop: threading.Event) -> bool:
    """As long as it takes: an upgrade of large tables has its time. False where it ended or was stopped meanwhile."""
    while child.poll() is None and not stop.wait(LOOK_EVERY_S):
        if _answers(address, port):
            return True
    return False


def _answers(address: Address, port: int) -> bool:
    connection = http.client.HTTPConnection(address.url_host.strip("[]"), port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, which ends its workers; whatever is left of its group is killed."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_WITHIN_S)
    with suppress(ProcessLookupError):  # the usual case: nobody is left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Set by SIGTERM and Ctrl-C, which end a server as it should end."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def notify_systemd(environment: Mapping[str, str]) -> None:
    """Tell systemd, where it waits for that (`Type=notify`), that the server is ready."""
    place = environment.get("NOTIFY_SOCKET")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto(b"READY=1", "\0" + place[1:] if place.startswith("@") else place)
        except OSError as error:
            raise WrongInput(f"NOTIFY_SOCKET {place}: can't be written to ({error.strerror})") from None
