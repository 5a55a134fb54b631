"""The link between two nodes delays, loses and cuts as it is told; otherwise the rows of the network prove nothing."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from faults.link import carry

Tell = Callable[..., None]


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket, Tell]]:
    """Two ends, and what tells the link how to be."""
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for outer, inner in ends:
        outer.settimeout(5)
        inner.setblocking(False)
    reading, writing = os.pipe()
    devices = (ends[0][1].fileno(), ends[1][1].fileno())
    thread = threading.Thread(target=carry, args=(devices, reading), kwargs={"seed": 0})
    thread.start()
    yield ends[0][0], ends[1][0], lambda **how: os.write(writing, json.dumps(how).encode() + b"\n")
    os.close(writing)
    thread.join()
    os.close(reading)
    for outer, inner in ends:
        outer.close()
        inner.close()


def test_packets_cross_both_ways(link: tuple[socket.socket, socket.socket, Tell]) -> None:
    """In order, whole."""
    one, other, _ = link
    for n in range(5):
        one.send(b"there %d" % n)
        other.send(b"back %d" % n)
    assert [other.recv(100) for _ in range(5)] == [b"there %d" % n for n in range(5)]
    assert [one.recv(100) for _ in range(5)] == [b"back %d" % n for n in range(5)]


def test_a_delay_is_at_least_as_long_as_told(link: tuple[socket.socket, socket.socket, Tell]) -> None:
    """Each packet waits for it; none is lost by that."""
    one, other, tell = link
    tell(delay_s=0.2)
    began_s = time.monotonic()
    one.send(b"first")
    one.send(b"second")
    assert [other.recv(100), other.recv(100)] == [b"first", b"second"]
    assert time.monotonic() - began_s >= 0.2


def test_some_are_lost_and_a_cut_loses_all(link: tuple[socket.socket, socket.socket, Tell]) -> None:
    """A tenth of 100 is not none and not half; after the cut they cross again."""
    one, other, tell = link
    tell(loss=0.1)
    came = [got for _ in range(100) for got in _exchange(one, other)]
    assert 60 <= len(came) < 100
    tell(cut=True)
    assert _exchange(one, other) == []
    tell(cut=False, loss=0.0)
    one.send(b"came")
    assert other.recv(100) == b"came"


def _exchange(one: socket.socket, other: socket.socket) -> list[bytes]:
    """What comes of one packet within a moment that is long for a machine at rest."""
    one.send(b"x")
    other.settimeout(0.3)
    try:
        return [other.recv(100)]
    except TimeoutError:
        return []
    finally:
        other.settimeout(5)
