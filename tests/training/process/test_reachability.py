"""Ranks that can't reach each other are told so before they wait for each other: who, where, by which interface."""

import socket
import threading

import pytest
import torch.distributed as dist

from tune_cnn.errors import PeerLost, Unreachable
from tune_cnn.training.process.reachability import check_rank_0, check_reachable, gloo_address, interfaces


def closed_port() -> int:
    """One at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_ranks_that_reach_each_other_go_on_and_leave_nothing_behind():
    """Three of them; no thread and no port stays."""
    store, ended = dist.HashStore(), []

    def check(rank: int) -> None:
        check_reachable(store, rank, 3, within_s=30)
        ended.append(rank)

    threads = [threading.Thread(target=check, args=(rank,)) for rank in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sorted(ended) == [0, 1, 2]
    for one in [one for one in threading.enumerate() if one.name == "reachability"]:
        one.join(10)
        assert not one.is_alive()


@pytest.mark.parametrize("answering", [False, True])
def test_an_address_at_which_the_other_rank_is_not_is_an_error_that_says_what_to_set(answering):
    """Nobody is there, or somebody else: a loopback address is each node's own."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1] if answering else closed_port()
        store = dist.HashStore()
        store.set("at/1", f"127.0.0.1 {port} name rank 1 on other (lo 127.0.0.1, eth0 10.0.0.2), by loopback")
        store.set("reached/1", "")
        threading.Thread(target=_turn_away, args=(somebody,), daemon=True).start()
        with pytest.raises(Unreachable) as caught:
            check_reachable(store, 0, 2, within_s=30)
    said = str(caught.value)
    assert (
        said.startswith(f"rank 0 on {socket.gethostname()} (") and f" can't reach rank 1 at 127.0.0.1:{port}: " in said
    )
    assert "that is the address of rank 1 on other (lo 127.0.0.1, eth0 10.0.0.2), by loopback; name the network" in said
    assert "GLOO_SOCKET_IFNAME" in said and "NCCL_SOCKET_IFNAME" in said
    assert store.get("reached/0").decode() == said, "the other ranks hear of it too"


def _turn_away(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def test_a_fault_that_another_rank_has_met_is_everybodys():
    """Rank 1 can't reach rank 2; rank 0 reaches both."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store, port = dist.HashStore(), server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                server.accept()[0].sendall(b"name\n")

        threading.Thread(target=answer, daemon=True).start()
        for rank in (1, 2):
            store.set(f"at/{rank}", f"127.0.0.1 {port} name rank {rank} on other (), by its name")
        store.set("reached/1", "rank 1 can't reach rank 2")
        store.set("reached/2", "")
        with pytest.raises(Unreachable, match="rank 1 can't reach rank 2"):
            check_reachable(store, 0, 3, within_s=30)


def test_a_rank_that_never_comes_is_waited_for_so_long():
    """It has died between joining and this."""
    with pytest.raises(PeerLost, match="rank 0: rank 1 has not tried the network in 0 s"):
        check_reachable(dist.HashStore(), 0, 2, within_s=0.1)


def test_rank_0_that_cannot_be_reached_is_named_with_its_address():
    """At once, where torch's own wait is as long as the ranks may take to come."""
    port = closed_port()
    with pytest.raises(Unreachable) as caught:
        check_rank_0(3, "127.0.0.1", port)
    assert f"can't reach rank 0 at 127.0.0.1:{port}: Connection refused; name the network" in str(caught.value)
    assert str(caught.value).startswith(f"rank 3 on {socket.gethostname()} (lo 127.0.0.1")


def test_the_interface_is_the_one_that_is_set_and_must_be_there(monkeypatch):
    """A mistyped one is refused with those that there are."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert gloo_address() == ("127.0.0.1", "GLOO_SOCKET_IFNAME=lo")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    with pytest.raises(Unreachable, match=r"GLOO_SOCKET_IFNAME=ib7: .* has no such interface .*lo 127\.0\.0\.1"):
        gloo_address()
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    address, _ = gloo_address()
    assert address in {*interfaces().values(), "127.0.1.1", "127.0.0.1"}
