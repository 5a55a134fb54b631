"""Faults of the store: SQLite locked and torn, PostgreSQL's server gone and back."""

import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from database_server import binaries, postgres
from faults.rows import Case, Row

LOCKED_S = 90.0
ENDS_S = 120.0


def locked(case: Case) -> None:
    """Another process holds SQLite's write lock, three times as long as we wait for it."""
    case.now()

    def hold() -> None:
        with closing(sqlite3.connect(_file(case), isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_S)
            other.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    case.at_close.append(holder.join)


def torn_page(damage: Callable[[bytes], bytes]) -> Callable[[Case], None]:
    """The search is killed, and a page that holds points is damaged in the middle of the file."""

    def strike(case: Case) -> None:
        case.now()
        case.commands[-1].send_signal(signal.SIGKILL)
        case.commands[-1].wait()
        for process in case.search.processes("outbox"):
            process.send(signal.SIGKILL)
        file = _file(case)
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = database.execute("PRAGMA page_size").fetchone()[0]
        content = file.read_bytes()
        at = content.index(b'"train_time_s"') // size * size
        file.write_bytes(content[:at] + damage(content[at : at + size]) + content[at + size :])

    return strike


def _file(case: Case) -> Path:
    return case.search.folder / "studies" / "studies.db"


def on_postgres(case: Case) -> None:
    """The store on a server of the row's own."""
    server = postgres()
    url = server.__enter__()
    case.at_close.append(lambda: (_start(url), server.__exit__(None, None, None)))
    case.search.url = url
    case.search.environment["TUNE_CNN_STORE"] = url


def server_gone(number: int, for_s: float) -> Callable[[Case], None]:
    def strike(case: Case) -> None:
        data = _data(case.search.url)
        server = int((data / "postmaster.pid").read_text().splitlines()[0])
        case.now()
        _send_tree(server, number)
        time.sleep(for_s)
        if number == signal.SIGSTOP:
            _send_tree(server, signal.SIGCONT)
        else:
            # SIGTERM: no new connection is let in, and the end comes when the last of the old ones has gone
            if not _gone(server, ENDS_S):
                raise TimeoutError(f"the server has not ended in {ENDS_S:.0f} s")
            _start(case.search.url)

    return strike


def _gone(server: int, within_s: float) -> bool:
    import psutil

    return not psutil.wait_procs([psutil.Process(server)] if psutil.pid_exists(server) else [], within_s)[1]


def _send_tree(server: int, number: int) -> None:
    import psutil

    parent = psutil.Process(server)
    for process in [parent, *parent.children(recursive=True)]:
        process.send_signal(number)
        if number == signal.SIGTERM:  # PostgreSQL passes it on by itself
            break


def _data(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0]) / "data"


def _start(url: str) -> None:
    """With what it holds; nothing where it runs."""
    data = _data(url)
    options = f"-k {data.parent} -c listen_addresses='' -c fsync=off"
    words = [str(binaries() / "pg_ctl"), "-D", str(data), "-w", "-o", options, "-l", str(data.parent / "log"), "start"]
    subprocess.run(words, check=False, cwd="/tmp", capture_output=True, user=data.owner())


def _row(part: str, fault: str, strike: Callable[[Case], None], **more: Any) -> Row:
    return Row(family="store", part=part, fault=fault, strike=strike, search={"trials": 4}, **more)


ROWS = [
    _row("store (SQLite)", "locked for 90 s", locked),
    _row("store (SQLite)", "a page of zeros", torn_page(lambda page: bytes(len(page))), expected="is corrupt"),
    _row(
        "store (SQLite)",
        "half a page of zeros",
        torn_page(lambda page: page[: len(page) // 2] + bytes(len(page) - len(page) // 2)),
        expected="is corrupt",
    ),
    _row("store (PostgreSQL)", "kill -9, back after 5 s", server_gone(signal.SIGKILL, 5.0), prepare=on_postgres),
    _row("store (PostgreSQL)", "SIGTERM, back after 5 s", server_gone(signal.SIGTERM, 5.0), prepare=on_postgres),
    _row("store (PostgreSQL)", "SIGSTOP for 45 s", server_gone(signal.SIGSTOP, 45.0), prepare=on_postgres),
]
