"""The ranks' group: collectives, and breaking one in which a rank waits for a peer that won't come."""

import socket
import threading
import time
from pathlib import Path

import pytest
import torch

from tune_cnn.errors import PeerLost
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.process.process_group import ProcessGroup, known_to_peers, tcp_connections


def joined(rank: int, address: str, group: ProcessGroup | None = None) -> ProcessGroup:
    group = group or ProcessGroup(rank)
    group.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    return group


def test_one_rank_needs_no_group():
    """Collectives give back what they were given."""
    group = ProcessGroup()
    group.join(ranks=1, init_method="", cuda=False, timeout_s=1)
    assert group.gather("a") == ["a"] and group.share("b") == "b" and group.add_up(torch.ones(1)).item() == 1
    assert not torch.distributed.is_initialized()


def test_only_connections_that_peers_know_are_the_groups():
    """One that another thread opened meanwhile is left alone."""
    here, there, elsewhere = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.9", 9)
    opened = {5: (here, there), 6: (here, elsewhere)}
    assert known_to_peers(opened, [list(opened.values()), [(there, here)]]) == {5: (here, there)}


def test_looking_for_connections_finds_both_ends_and_leaves_nothing_open(tmp_path):
    """Of files, pipes, listeners and connections only the last are found; no descriptor is left behind."""
    with (
        (tmp_path / "file").open("w"),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as here,
        server.accept()[0] as there,
    ):
        before = len(list(Path("/dev/fd").iterdir()))
        found = tcp_connections()
        assert found[here.fileno()] == found[there.fileno()][::-1]
        assert server.fileno() not in found
        assert len(list(Path("/dev/fd").iterdir())) == before


def collectives(rank: int, address: str) -> object:
    group = joined(rank, address)
    joined(rank, address, group)  # stands already: nothing happens
    normed = torch.nn.BatchNorm1d(2)
    normed.running_mean.fill_(float(rank + 1))
    group.share_buffers(normed)
    found = (
        group.gather({"rank": rank}),
        group.share(f"from {rank}"),
        group.add_up(torch.tensor([1.0, float(rank)])).tolist(),
        normed.running_mean.tolist(),
    )
    group.leave()
    return found


def test_two_ranks_join_gather_share_and_add_up(two_processes):
    """Both know the same afterwards; what is shared is rank 0's."""
    expected = ([{"rank": 0}, {"rank": 1}], "from 0", [2.0, 1.0], [1.0, 1.0])
    assert two_processes.call(collectives, two_processes.address()) == [expected, expected]


_GROUPS: dict[int, ProcessGroup] = {}  # of this process, by rank: kept from call to call


def joins_where_it_listened(rank: int, address: str | None) -> object:
    group = _GROUPS.setdefault(rank, ProcessGroup(rank))
    if address is None:
        return group.listen("127.0.0.1") if rank == 0 else None
    joined(rank, address, group)
    found = group.gather(rank)
    group.leave()
    return found


def test_rank_0_holds_the_port_at_which_the_others_join(two_processes):
    """From the moment that its address is known nobody else can take it; two groups to come have two ports."""
    address, _ = two_processes.call(joins_where_it_listened, None)
    port = int(address.rpartition(":")[2])
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", port))
    assert two_processes.address() != address
    assert two_processes.call(joins_where_it_listened, address) == [[0, 1], [0, 1]]


def waits_for_a_peer(rank: int, address: str, next_address: str) -> object:
    group = joined(rank, address)
    said = ""
    if rank == 1:  # waits in a collective to which rank 0 never comes
        threading.Timer(0.5, group.abort).start()
        try:
            with trial_faults("training"):
                group.add_up(torch.ones(1000))
        except PeerLost as error:
            said = type(error).__name__
    else:
        time.sleep(2)
        group.abort()
    joined(rank, next_address, group)
    total = group.add_up(torch.ones(1)).item()
    group.leave()
    return said, total


def test_abort_from_another_thread_ends_a_collective_that_would_hang(two_processes):
    """The peer lives on and never comes; both can join again."""
    found = two_processes.call(waits_for_a_peer, two_processes.address(), two_processes.address())
    assert found == [("", 2.0), ("PeerLost", 2.0)]
