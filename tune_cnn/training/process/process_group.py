"""The ranks of a trial as one group: joined once, kept from trial to trial, and broken when a peer is lost."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import distributed_c10d

from tune_cnn.errors import PeerLost, first_line
from tune_cnn.training.process.reachability import check_rank_0, check_reachable
from tune_cnn.untyped import Untyped

Address = tuple[str, int]
Connection = tuple[Address, Address]  # this end, the other end
POLL_S = 0.05


class ProcessGroup:
    """This process's place among the ranks. With one rank every collective is a no-op and no group is made.

    Gloo carries what lies on the CPU, NCCL what lies on a GPU. Every collective must be called by all ranks.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.ranks = 1
        self._joined: tuple[int, str, bool] | None = None
        self._sockets: dict[int, Connection] = {}
        self._aborted = False
        self._formed = threading.Event()  # cleared while torch makes the group, which nothing can end
        self._formed.set()
        # Rank 0's, from `listen` to `join`.
        self._meeting: dist.TCPStore | None = None  # type: ignore[name-defined]  # torch's stub doesn't export it

    def listen(self, host: str) -> str:
        """On rank 0, before `join`: the address of this host at which it waits for the others, its port taken already.

        A port that was only seen to be free may be another's by the time that it is wanted. `join` finds the same
        server, as stores that are multi-tenant share one within a process.
        """
        made = dist.TCPStore  # type: ignore[attr-defined]  # torch's stub doesn't export it
        self._meeting = made(host, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
        return f"tcp://{host}:{self._meeting.port}"

    def join(
        self,
        *,
        ranks: int,
        init_method: str,
        cuda: bool,
        timeout_s: float,
        collective_timeout_s: float | None = None,
    ) -> None:
        """Wait for all ranks and form the group; nothing happens where it already stands.

        timeout_s: for the others to come; of each collective afterwards too, where it has no time of its own.
        PeerLost where a rank doesn't come, can't use its device, can't be reached from another one (Unreachable), or
        this one is told to `abort` meanwhile. After `abort` on any rank, all must join again, under an `init_method`
        not used before.
        """
        wanted = (ranks, init_method if ranks > 1 else "", cuda)
        if self._joined == wanted and not self._aborted:
            return
        self.leave()
        self.ranks = ranks
        try:
            if ranks > 1:
                store = self._met(init_method, cuda=cuda, timeout_s=timeout_s)
                check_reachable(store, self.rank, ranks, within_s=timeout_s, check=self.check)
                self._form(store, cuda=cuda, timeout_s=collective_timeout_s or timeout_s)
                self.check()
        except BaseException:
            self._aborted, self.ranks = False, 1
            raise
        self._joined = wanted

    def _met(self, address: str, *, cuda: bool, timeout_s: float) -> Untyped:
        """The store that all ranks have come to, each with its device in use.

        A rank that failed or died once the others wait for it in NCCL would leave them there for ever: NCCL has then
        nothing yet that could be aborted. So all agree here first, where they can be told.
        """
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        if self.rank:
            check_rank_0(self.rank, host, int(port))
        made = dist.TCPStore  # type: ignore[attr-defined]  # torch's stub doesn't export it
        store = made(
            host,
            int(port),
            is_master=self.rank == 0,
            wait_for_workers=False,
            multi_tenant=True,
            timeout=timedelta(seconds=timeout_s),
        )
        try:
            if cuda:
                torch.cuda.synchronize()  # makes its context
        except Exception as error:
            store.set(f"ready/{self.rank}", f"its device can't be used: {first_line(error)}")
            raise
        store.set(f"ready/{self.rank}", "")
        missing = {rank for rank in range(self.ranks) if rank != self.rank}
        until_s = time.monotonic() + timeout_s
        while missing:
            self.check()
            for rank in [one for one in missing if store.check([f"ready/{one}"])]:
                fault = store.get(f"ready/{rank}").decode()
                if fault:
                    raise PeerLost(f"rank {self.rank}: rank {rank} can't join: {fault}")
                missing.remove(rank)
            if time.monotonic() > until_s:
                raise PeerLost(f"rank {self.rank}: ranks {sorted(missing)} have not come to join in {timeout_s:.0f} s")
            time.sleep(POLL_S if missing else 0)
        return store

    def _form(self, store: Untyped, *, cuda: bool, timeout_s: float) -> None:
        # NCCL's own watchdog would end the process when a peer is lost; here the caller sees to that, by `abort`.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
        before = tcp_connections()
        self._formed.clear()
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.ranks,
                timeout=timedelta(seconds=timeout_s),
                # NCCL connects now, not in the middle of the first trial.
                device_id=torch.device("cuda", torch.cuda.current_device()) if cuda else None,
            )
            self._meeting = None  # the group has the server now
            opened = {fd: ends for fd, ends in tcp_connections().items() if before.get(fd) != ends}
            # Other threads may have opened connections meanwhile: those between ranks are known at both ends.
            self._sockets = known_to_peers(opened, self._gathered(list(opened.values())))
        except BaseException:
            # Groups are named by their number, and a peer in a fresh process begins with 0.
            distributed_c10d._world.group_count = 0
            raise
        finally:
            self._formed.set()

    def leave(self) -> None:
        """Give up the group. Peers that wait for this rank see it go."""
        had_joined = self._joined is not None
        self._joined, self._sockets, self.ranks = None, {}, 1
        if dist.is_initialized():
            try:
                dist.destroy_process_group()
            except RuntimeError:
                if not self._aborted:
                    raise
        if had_joined:  # else it is the join to come that has been aborted
            self._aborted = False

    def abort(self) -> None:
        """From another thread: make every collective in which this rank waits fail, now.

        Gloo can't be aborted (torch's `abort` passes it by), but it gives up when a connection ends, so this rank's are
        shut down. NCCL's kernels end without an error, hence `check`. It may never return: where torch is making the
        group with a peer that has died meanwhile, and where NCCL hangs (torch waits for it for half an hour).
        """
        self._aborted = True
        self._formed.wait()
        for fd, ends in self._sockets.items():
            if tcp_connections([fd]).get(fd) == ends:  # else closed meanwhile, its number perhaps reused
                with socket.socket(fileno=os.dup(fd)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)
        if self._joined is not None and self._joined[2] and dist.is_initialized():
            distributed_c10d._abort_process_group()

    @property
    def aborted(self) -> bool:
        return self._aborted

    @property
    def joined(self) -> bool:
        return self._joined is not None

    def check(self) -> None:
        """Raise PeerLost if the group has been aborted: what the last collectives gave is then worth nothing."""
        if self._aborted:
            raise PeerLost(f"rank {self.rank}: the group of {self.ranks} ranks was aborted; join again")

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place."""
        if self.ranks > 1:
            dist.all_reduce(tensor)
            self.check()
        return tensor

    def gather(self, value: object) -> list[Untyped]:
        """Every rank's value, on every rank; anything that pickles."""
        if self.ranks == 1:
            return [value]
        values = self._gathered(value)
        self.check()
        return values

    def _gathered(self, value: object) -> list[Untyped]:
        values: list[Untyped] = [None] * self.ranks
        dist.all_gather_object(values, value)
        return values

    def agree(self, ready_for: str) -> None:
        """Wait until every rank has come here; PeerLost where one doesn't, which is by `abort` or after `join`'s time.

        By gloo, on the CPU: before a first collective of NCCL's, in which nobody can be told what happened to a peer.
        """
        try:
            self.add_up(torch.zeros(1))
        except RuntimeError as error:
            raise PeerLost(f"rank {self.rank}: not every rank is ready for {ready_for}: {first_line(error)}") from error

    def share(self, value: object) -> Untyped:
        """Rank 0's value, on every rank; anything that pickles."""
        if self.ranks == 1:
            return value
        values = [value if self.rank == 0 else None]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        self.check()
        return values[0]

    def share_buffers(self, module: nn.Module) -> None:
        """Give every rank rank 0's buffers (running statistics differ, as each rank saw other images).

        Those of a type in one message: a net has hundreds of some bytes each.
        """
        if self.ranks == 1:
            return
        of_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in module.buffers():
            of_type.setdefault(buffer.dtype, []).append(buffer)
        for buffers in of_type.values():
            flat = torch.cat([buffer.flatten() for buffer in buffers])
            dist.broadcast(flat, src=0)
            for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
                buffer.copy_(values.view_as(buffer))
        self.check()


def tcp_connections(descriptors: Iterable[int] | None = None) -> dict[int, Connection]:
    """Both ends of this process's open TCP connections, by file descriptor."""
    found = {}
    for fd in descriptors if descriptors is not None else _descriptors():
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as one:
                if one.type == socket.SOCK_STREAM and one.family in (socket.AF_INET, socket.AF_INET6):
                    found[fd] = (one.getsockname()[:2], one.getpeername()[:2])
        except OSError:  # not connected, or closed while we look
            continue
    return found


def known_to_peers(opened: dict[int, Connection], of_all_ranks: list[list[Connection]]) -> dict[int, Connection]:
    """Those connections whose other end is one that a rank has opened too."""
    known = {ends for one_rank in of_all_ranks for ends in one_rank}
    return {fd: (here, there) for fd, (here, there) in opened.items() if (there, here) in known}


def _descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/dev/fd").iterdir() if entry.name.isdigit()]
