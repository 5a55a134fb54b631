"""Faults of nodes: two, each in a network namespace of its own, with the driver beside the head; and of its machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from faults.machines import lose_drivers_machine, took_over, two_machines
from faults.rows import Case, Row
from faults.search_under_test import wait_for

PORT = 6399
NODES = count()
DISABLED = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": ""}


class Nodes:
    """Two nodes of one core each, joined by a link that can be broken."""

    def __init__(self, case: Case) -> None:
        number = next(NODES)
        self._case = case
        self.names = [f"fa{os.getpid()}n{number}{end}" for end in "ab"]
        self.addresses = [f"10.{77 + number % 100}.{os.getpid() % 250}.{end}" for end in (1, 2)]
        for name in self.names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            case.at_close.append(lambda name=name: subprocess.run(["ip", "netns", "del", name], check=False))
        pairs = [word for pair in zip(self.names, self.addresses, strict=True) for word in pair]
        self.link = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("link.py")), *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C here ends the rows first
        )
        case.at_close.append(self._unlink)
        assert self.link.stdout is not None and self.link.stdout.readline() == "ready\n"
        search = case.search
        search.environment |= DISABLED
        search.prefix = self._inside(0)
        search.options += ["--address", f"{self.addresses[0]}:{PORT}", "--storage", str(search.folder / "storage")]
        self.head = self.start_head()
        wait_for(lambda: search.processes("raylet"), "the head's raylet", within_s=90)
        self.worker = self.start_worker()
        wait_for(lambda: len(search.processes("raylet")) >= 2, "the second raylet", within_s=90)

    def start_head(self) -> "subprocess.Popen[bytes]":
        words = [
            "--head",
            f"--port={PORT}",
            "--include-dashboard=false",
            f"--temp-dir={self._case.search.folder / 'r'}",
        ]
        return self._node(0, *words)

    def start_worker(self) -> "subprocess.Popen[bytes]":
        return self._node(1, f"--address={self.addresses[0]}:{PORT}")

    def tell(self, **how: float | bool) -> None:
        """The link, by the words of link.py."""
        assert self.link.stdin is not None
        self.link.stdin.write(json.dumps(how) + "\n")
        self.link.stdin.flush()

    def end(self, node: "subprocess.Popen[bytes]", number: int) -> None:
        """Send a signal to every process of a node, as when its machine goes."""
        for process in self._case.search.of(node):
            process.send(number)

    def _node(self, index: int, *words: str) -> "subprocess.Popen[bytes]":
        prefix, self._case.search.prefix = self._case.search.prefix, self._inside(index)
        ip = f"--node-ip-address={self.addresses[index]}"
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", ip, *words]
        try:
            return self._case.search.spawn(*start, log=f"node{index}", TMPDIR=str(self._case.search.folder))
        finally:
            self._case.search.prefix = prefix

    def _inside(self, index: int) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.names[index]}"]

    def _unlink(self) -> None:
        assert self.link.stdin is not None
        self.link.stdin.close()
        self.link.wait()


def two_nodes(case: Case) -> None:
    case.nodes = Nodes(case)


def lose_worker(number: int, *, back_after_s: float | None) -> Callable[[Case], None]:
    """Every process of the second node gets the signal; a new node joins later, or none."""

    def strike(case: Case) -> None:
        nodes = case.nodes
        assert isinstance(nodes, Nodes)
        wait_for(lambda: _busy(case) >= 2, "trials on both nodes", within_s=120)
        case.now()
        nodes.end(nodes.worker, number)
        if back_after_s is not None:
            time.sleep(back_after_s)
            nodes.worker = nodes.start_worker()

    return strike


def lose_head(number: int) -> Callable[[Case], None]:
    """Every process of the head gets the signal, not the driver's; then the cluster is started anew."""

    def strike(case: Case) -> None:
        nodes = case.nodes
        assert isinstance(nodes, Nodes)
        case.now()
        nodes.end(nodes.head, number)
        code = case.wait_for_end(case.row.patience_s)
        if code is None:
            case.stuck = True
            case.commands[-1].kill()
        for node in (nodes.head, nodes.worker):
            nodes.end(node, signal.SIGKILL)
        nodes.head = nodes.start_head()
        wait_for(lambda: case.search.of(nodes.head, "raylet"), "the new head's raylet", within_s=90)
        nodes.worker = nodes.start_worker()
        wait_for(lambda: case.search.of(nodes.worker, "raylet"), "the new worker's raylet", within_s=90)

    return strike


def _busy(case: Case) -> int:
    record = case.search.record()
    return 0 if record is None else sum(trial.state == "running" for trial in record.trials.values())


SEARCH = {"slots": 2, "trials": 6}
ROWS = [
    Row(
        family="cluster",
        part="worker node",
        fault=fault,
        strike=lose_worker(number, back_after_s=back_after_s),
        search=SEARCH,
        prepare=two_nodes,
        patience_s=240.0,
    )
    for fault, number, back_after_s in (
        ("kill -9 of all of it", signal.SIGKILL, None),
        ("SIGTERM of all of it", signal.SIGTERM, None),
        ("SIGSTOP of all of it", signal.SIGSTOP, None),
        ("kill -9, a new node after 20 s", signal.SIGKILL, 20.0),
    )
] + [
    Row(
        family="cluster",
        part="head node",
        fault="kill -9 of all of it, a new cluster",
        strike=lose_head(signal.SIGKILL),
        search=SEARCH,
        prepare=two_nodes,
        patience_s=180.0,
    ),
    Row(
        family="cluster",
        part="driver's machine",
        fault="kill -9 of all of it, the same command on another",
        strike=lose_drivers_machine,
        prepare=two_machines,
        also=took_over,
        patience_s=180.0,
    ),
]
