"""Two machines, each with a network, processes and disks of its own; both reach one PostgreSQL and one folder."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from database_server import postgres
from faults.rows import Case
from faults.search_under_test import wait_for

NUMBERS = count()
OWN = ("t", "studies")  # on a machine's own disks, below the working folder, which both share
MACHINE = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child")
BOOT = """\
hostname {name}
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.1; done
ip address add {address} peer {server} dev eth0
ip link set eth0 up
ip route add default via {server}
touch {disk}/up
sleep infinity & wait
"""
ENTER = """\
mount -t proc proc /proc && mount --bind {disk}/hosts /etc/hosts || exit 1
for name in {own}; do mount --bind {disk}/$name {folder}/$name || exit 1; done
exec "$@"
"""


class Machine:
    """One of them: its first process, its disks, and its end of the cable."""

    def __init__(self, case: Case, *, name: str, address: str, server: str, cable: str) -> None:
        self._search, self._cable = case.search, cable
        self.disk = case.search.folder / name
        self.shm = case.search.shm.with_name(case.search.shm.name + name)
        for folder in (*(self.disk / own for own in OWN), self.shm):
            folder.mkdir(parents=True)
        (self.disk / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        boot = BOOT.format(name=name, address=address, server=server, disk=self.disk)
        with (self.disk / "log").open("w") as log:
            words = [*MACHINE, "bash", "-c", boot]
            self._outside = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        case.at_close += [partial(shutil.rmtree, self.shm), self.lose]
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children")
        self._first = int(wait_for(children.read_text, f"the first process of {name}", within_s=30))
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._first))
        _ip("address", "add", server, "peer", address, "dev", cable)
        _ip("link", "set", cable, "up")
        wait_for((self.disk / "up").exists, f"the network of {name}", within_s=30)

    def use(self) -> None:
        """Commands are given on this machine from now on."""
        enter = ENTER.format(disk=self.disk, own=" ".join(OWN), folder=self._search.folder)
        namespaces = ["--net", "--uts", "--ipc", "--pid"]
        self._search.inside = ["nsenter", f"--target={self._first}", *namespaces, "sh", "-c", enter, "sh"]
        self._search.shm, self._search.temp = self.shm, self.disk / "t"

    def lose(self) -> None:
        """The cable first: its processes' sockets have no time for a last word, as when its power goes."""
        if self._outside.poll() is None:
            _ip("link", "set", self._cable, "down")
            os.kill(self._first, signal.SIGKILL)
            self._outside.wait(30)


class Machines:
    """The driver's machine, and the one that is left."""

    def __init__(self, case: Case) -> None:
        number, search = f"{os.getpid()}n{next(NUMBERS)}", case.search
        net = f"10.{150 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        (search.folder / "studies").mkdir()
        case.at_close.append(partial(shutil.rmtree, search.shm))
        self.first, self.second = (
            Machine(case, name=name, address=f"{net}.{host}", server=f"{net}.1", cable=f"f{number}{name}"[-15:])
            for name, host in (("m1", 11), ("m2", 12))
        )
        server = postgres(f"{net}.1")
        search.url = server.__enter__()
        case.at_close.append(lambda: server.__exit__(None, None, None))
        search.environment["TUNE_CNN_STORE"] = f"postgresql+psycopg://tester@{net}.1/postgres"
        search.options += ["--storage", str(search.folder / "storage")]
        (search.folder / "epochs").touch()  # where the net counts those that it was trained for
        self.first.use()


def two_machines(case: Case) -> None:
    case.nodes = Machines(case)


def lose_drivers_machine(case: Case) -> None:
    """All of it at once; then the same command on the other."""
    machines = case.nodes
    assert isinstance(machines, Machines)
    case.now()
    machines.first.lose()
    machines.second.use()


def took_over(case: Case) -> Iterator[str]:
    """What was wrong with it: the wait for the lost one's lease is said, and at most one epoch was trained again."""
    if not any("waiting until its hold ends" in line for line in case.search.said):
        yield "the command on the second machine did not say what it waits for"
    record, trained = case.search.record(), len((case.search.folder / "epochs").read_text().splitlines())
    if record is not None and trained > len(record.points) + 1:
        yield f"{trained} epochs were trained for {len(record.points)} points: the trial began again"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
