"""The ranks' group: collectives, and breaking one in which a rank waits for a peer that won't come."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
import torch

from tune_cnn.errors import PeerLost
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.process.process_group import ProcessGroup, known_to_peers, tcp_connections
from tune_cnn.training.process.reachability import check_reachable


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


def joins_alone(rank: int, address: str) -> str:
    """Rank 0 joins; the other dies of something else before it does, and whoever looks after them aborts rank 0."""
    if rank == 1:
        return ""
    group = ProcessGroup(0)
    threading.Timer(0.5, group.abort).start()
    with pytest.raises(PeerLost) as caught:
        joined(0, address, group)
    return str(caught.value)


def joins(rank: int, address: str) -> float:
    group = joined(rank, address)
    total = float(group.add_up(torch.ones(1)).item())
    group.leave()
    return total


def test_a_rank_that_waits_to_join_is_freed_when_its_peer_has_failed(two_processes):
    """At once, not after the half hour that imports and downloads may take; the next group stands."""
    said, _ = two_processes.call(joins_alone, two_processes.address(), timeout_s=30)
    assert said == "rank 0: the group of 2 ranks was aborted; join again"
    assert two_processes.call(joins, two_processes.address()) == [2.0, 2.0]


def test_an_abort_before_a_rank_begins_to_join_counts():
    """A peer may fail that early. It counts once: the group can be joined anew."""
    group = ProcessGroup()
    address = group.listen("127.0.0.1")
    group.abort()
    with pytest.raises(PeerLost, match="was aborted"):
        group.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    with pytest.raises(PeerLost, match=r"rank 0: ranks \[1\] have not come to join in 1 s"):
        group.join(ranks=2, init_method=group.listen("127.0.0.1"), cuda=False, timeout_s=1)


def joins_with_its_gpu(rank: int, address: str) -> str:
    group = ProcessGroup(rank)
    try:
        group.join(ranks=2, init_method=address, cuda=rank == 1, timeout_s=600)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a process without a GPU says")
def test_a_device_that_cannot_be_used_is_told_to_all_ranks_before_they_connect(two_processes):
    """In NCCL the others would wait for it for ever."""
    told, own = two_processes.call(joins_with_its_gpu, two_processes.address(), timeout_s=30)
    assert told.startswith("PeerLost: rank 0: rank 1 can't join: its device can't be used: ")
    assert not own.startswith("PeerLost") and told.endswith(own.partition(": ")[2].splitlines()[0])


def dies_while_connecting(rank: int, address: str) -> str:
    if rank == 1:  # says that it is ready, and is gone then
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        store = torch.distributed.TCPStore(host, int(port), wait_for_workers=False)
        store.set("ready/1", "")
        check_reachable(store, 1, 2, within_s=30)
        return ""
    with pytest.raises(PeerLost) as caught, trial_faults("joining the ranks"):
        ProcessGroup(0).join(ranks=2, init_method=address, cuda=False, timeout_s=2)
    return str(caught.value)


def test_after_a_join_that_failed_halfway_another_one_stands(two_processes):
    """Torch numbers its groups: ranks that count differently would look for each other under different names."""
    said, _ = two_processes.call(dies_while_connecting, two_processes.address(), timeout_s=60)
    assert said.startswith("joining the ranks: ")
    assert two_processes.call(joins, two_processes.address()) == [2.0, 2.0]


def never_gets_ready(rank: int, address: str, next_address: str) -> str:
    group = joined(rank, address)
    said = ""
    if rank == 0:
        threading.Timer(0.5, group.abort).start()
        with pytest.raises(PeerLost) as caught:
            group.agree("data-parallel training")
        said = str(caught.value)
    else:
        time.sleep(2)
        group.abort()
    joined(rank, next_address, group).leave()
    return said


def test_ranks_agree_that_all_are_ready_and_an_abort_ends_the_wait(two_processes):
    """The one that waited says for what; both join again."""
    said, _ = two_processes.call(never_gets_ready, two_processes.address(), two_processes.address(), timeout_s=60)
    assert said.startswith("rank 0: not every rank is ready for data-parallel training: ")


def waits_too_long(rank: int, address: str) -> list[str]:
    """Rank 1 stays away from a collective until rank 0 has given up, twice."""
    group = ProcessGroup(rank)
    group.join(ranks=2, init_method=address, cuda=False, timeout_s=60, collective_timeout_s=1)
    said = []
    if rank == 0:
        for _ in range(2):
            with pytest.raises(PeerLost) as caught, trial_faults("training"):
                group.add_up(torch.ones(100_000))
            said.append(str(caught.value))
    else:
        time.sleep(3)
    group.abort()
    with contextlib.suppress(RuntimeError):
        group.leave()
    return said


def test_a_collective_that_times_out_is_a_lost_peer(two_processes):
    """As often as it is tried: the second time gloo only says that the connection was closed for the first."""
    (first, second), _ = two_processes.call(waits_too_long, two_processes.address())
    assert "Timed out waiting 1000ms for" in first
    assert second == "training: Application timeout caused pair closure"
    assert two_processes.call(joins, two_processes.address()) == [2.0, 2.0]
