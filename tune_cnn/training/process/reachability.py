"""Whether ranks reach one another over the network: tried before the first collective, which could not say why not."""

import os
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from tune_cnn.errors import PeerLost, Unreachable
from tune_cnn.untyped import Untyped

CONNECT_S = 5.0  # a connection takes milliseconds within a cluster; packets that are dropped never answer
TRIES = 3  # a busy machine may drop the first
POLL_S = 0.02
ADVICE = (
    "name the network that joins the nodes on each of them: GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME for GPUs), and "
    "let its firewall pass all ports between them"
)


def check_rank_0(rank: int, host: str, port: int) -> None:
    """Unreachable where the address at which rank 0 waits, as Ray knows its node, doesn't answer."""
    why = ""
    for _ in range(TRIES):
        try:
            socket.create_connection((host, port), timeout=CONNECT_S).close()
            return
        except OSError as error:
            why = error.strerror or str(error)
    raise Unreachable(f"{_place(rank)} can't reach rank 0 at {host}:{port}: {why}; {ADVICE}")


def check_reachable(
    store: Untyped, rank: int, ranks: int, *, within_s: float, check: Callable[[], None] = lambda: None
) -> None:
    """Let every rank connect to every other one at the address that gloo will give it; Unreachable where one can't.

    store: torch's, that all ranks have come to. check: raises where this rank shall wait no longer; PeerLost where
    another one doesn't come in time. Takes milliseconds where all is well.
    """
    address, source = gloo_address()
    name = secrets.token_hex(8)
    others = [other for other in range(ranks) if other != rank]
    until_s = time.monotonic() + within_s

    def got(key: str, other: int) -> str:
        while not store.check([key]):
            check()
            if time.monotonic() > until_s:
                raise PeerLost(f"rank {rank}: rank {other} has not tried the network in {within_s:.0f} s")
            time.sleep(POLL_S)
        return str(store.get(key).decode())

    with socket.create_server((address, 0), family=_family(address), backlog=ranks) as server:
        threading.Thread(target=_answer, args=(server, name), name="reachability", daemon=True).start()
        try:
            port = server.getsockname()[1]
            store.set(f"at/{rank}", f"{address} {port} {name} {_place(rank)}, by {source}")
            faults = (_fault_of(rank, other, got(f"at/{other}", other)) for other in others)
            store.set(f"reached/{rank}", next(filter(None, faults), ""))
            # Each answers until all have tried; the first fault is everybody's.
            said = [got(f"reached/{other}", other) for other in range(ranks)]
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # a thread that waits for connections hears of no close
    fault = next(filter(None, said), None)
    if fault is not None:
        raise Unreachable(fault)


def gloo_address() -> tuple[str, str]:
    """The address that gloo takes in this process, and where from: as torch's ProcessGroupGloo finds it."""
    named = os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]
    if named:
        addresses = interfaces()
        if named not in addresses:
            raise Unreachable(
                f"GLOO_SOCKET_IFNAME={named}: {platform.node()} has no such interface with an address, but "
                f"{_listed(addresses)}"
            )
        return addresses[named], f"GLOO_SOCKET_IFNAME={named}"
    host = socket.gethostname()
    with suppress(OSError):
        for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.bind((place[0], 0))
                return str(place[0]), f"what the name {host} stands for"
    return "127.0.0.1", f"loopback, as the name {host} stands for none of its addresses"


def interfaces() -> dict[str, str]:
    """Of this node: name to its first address, IPv4 where it has one."""
    found: dict[str, str] = {}
    for name, addresses in psutil.net_if_addrs().items():
        usable = [a for family in (socket.AF_INET, socket.AF_INET6) for a in addresses if a.family == family]
        if usable:
            found[name] = usable[0].address.partition("%")[0]
    return found


def _fault_of(rank: int, other: int, told: str) -> str:
    """Why this rank can't reach the other one; empty where it can."""
    address, port, name, place = told.split(" ", 3)
    why = ""
    for _ in range(TRIES):
        try:
            with socket.create_connection((address, int(port)), timeout=CONNECT_S) as connection:
                answer = connection.makefile().readline().strip()
            if answer == name:
                return ""
            why = "somebody else answers there"  # as at a loopback address, which is each node's own
        except OSError as error:
            why = error.strerror or str(error)
    return (
        f"{_place(rank)} can't reach rank {other} at {address}:{port}: {why}; that is the address of {place}; {ADVICE}"
    )


def _answer(server: socket.socket, name: str) -> None:
    """Tell everyone who connects which rank this is, until the server is closed."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with suppress(OSError), connection:
                connection.sendall(f"{name}\n".encode())


def _place(rank: int) -> str:
    return f"rank {rank} on {platform.node()} ({_listed(interfaces())})"


def _listed(addresses: dict[str, str]) -> str:
    return ", ".join(f"{name} {address}" for name, address in addresses.items())


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
