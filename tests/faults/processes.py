"""Faults of single processes: of the driver's machine and of its Ray."""

import signal
import subprocess
import time

from faults.rows import Case, Row, signal_to
from faults.search_under_test import wait_for

SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGSTOP": signal.SIGSTOP}
FROZEN_S = 240.0  # patience with what is frozen: a stall is seen after a minute at the earliest, a dead Ray after two
TRIES = 30  # of a start that is refused at once while the frozen driver's lease of a minute runs
TWO_RANKS = {"ranks": 2, "cpus": 2, "trials": 2}
LOADERS = {"space": "  loader: batched\n  loader_workers: 1\n", "cpus": 2, "trials": 2}


def frozen_driver(case: Case) -> None:
    """Stopped past its lease, another one takes over; awake again, the first must write nothing and end."""
    first = case.commands[-1]
    case.now()
    first.send_signal(signal.SIGSTOP)
    points = len(case.before.points) if case.before else 0
    for _ in range(TRIES):
        code = _until_it_has_trained(case, case.command(), points)
        if code is None:
            break
        time.sleep(3)
    first.send_signal(signal.SIGCONT)
    first.wait(120)


def _until_it_has_trained(case: Case, command: "subprocess.Popen[bytes]", points: int) -> int | None:
    """The command's exit code where it was refused, None once it has given a point."""

    def moved() -> bool:
        record = case.search.record()
        return command.poll() is not None or (record is not None and len(record.points) > points)

    wait_for(moved, "the second driver's first point, or its end", within_s=180)
    return command.poll()


def second_driver(case: Case) -> None:
    """The same command while the first runs is refused, with the reason, and harms nothing."""
    first = case.commands[-1]
    case.now()
    code = case.command().wait(120)
    assert code == 2, f"the second driver ended with {code}"
    case.commands.remove(case.commands[-1])
    case.commands[-1] = first


def _row(part: str, role: str, fault: str, *, search: dict[str, object] | None = None, short: bool = False) -> Row:
    number = SIGNALS[fault]
    return Row(
        family="processes",
        part=part,
        fault=fault,
        strike=signal_to(role, number),
        search=search or {},
        patience_s=FROZEN_S if number == signal.SIGSTOP else 150.0,
        delivery=role == "outbox",
        short=short,
    )


ROWS = [
    _row("driver", "driver", "kill -9", short=True),
    _row("driver", "driver", "SIGTERM"),
    Row(family="processes", part="driver", fault="SIGSTOP", strike=frozen_driver, search={"trials": 6}),
    Row(family="processes", part="driver", fault="a second one at once", strike=second_driver, search={"trials": 4}),
    *(_row("raylet", "raylet", fault) for fault in SIGNALS),
    *(_row("GCS", "gcs", fault) for fault in SIGNALS),
    *(_row("worker", "worker", fault, short=fault == "kill -9") for fault in SIGNALS),
    *(_row("rank 1 of 2", "rank", fault, search=TWO_RANKS) for fault in SIGNALS),
    *(_row("loader process", "loader", fault, search=LOADERS) for fault in SIGNALS),
    *(_row("outbox", "outbox", fault, search={"trials": 5}, short=fault == "kill -9") for fault in SIGNALS),
]
