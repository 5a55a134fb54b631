"""The ranks of a trial as one group: joined once, kept from trial to trial, and broken when a peer is lost."""

import os
import socket
import stat
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _abort_process_group

from tune_cnn.errors import PeerLost
from tune_cnn.untyped import Untyped

Address = tuple[str, int]
Connection = tuple[Address, Address]  # this end, the other end


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

    def join(self, *, ranks: int, init_method: str, cuda: bool, timeout_s: float) -> None:
        """Wait for all ranks and form the group; nothing happens where it already stands.

        After `abort` on any rank, all must join again, under an `init_method` not used before.
        """
        wanted = (ranks, init_method if ranks > 1 else "", cuda)
        if self._joined == wanted and not self._aborted:
            return
        self.leave()
        self.ranks = ranks
        if ranks > 1:
            # NCCL's own watchdog would end the process when a peer is lost; here the caller sees to that, by `abort`.
            os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
            before = tcp_connections()
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                init_method=init_method,
                rank=self.rank,
                world_size=ranks,
                timeout=timedelta(seconds=timeout_s),
            )
            self._meeting = None  # the group has the server now
            opened = {fd: ends for fd, ends in tcp_connections().items() if before.get(fd) != ends}
            # Other threads may have opened connections meanwhile: those between ranks are known at both ends.
            self._sockets = known_to_peers(opened, self.gather(list(opened.values())))
        self._joined = wanted

    def leave(self) -> None:
        """Give up the group. Peers that wait for this rank see it go."""
        self._joined, self._sockets, self.ranks = None, {}, 1
        if dist.is_initialized():
            try:
                dist.destroy_process_group()
            except RuntimeError:
                if not self._aborted:
                    raise
        self._aborted = False

    def abort(self) -> None:
        """From another thread: make every collective in which this rank waits fail, now.

        Gloo can't be aborted (torch's `abort` passes it by), but it gives up when a connection ends, so this rank's are
        shut down. NCCL's kernels end without an error, hence `check`.
        """
        self._aborted = True
        for fd, ends in self._sockets.items():
            if tcp_connections([fd]).get(fd) == ends:  # else closed meanwhile, its number perhaps reused
                with socket.socket(fileno=os.dup(fd)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)
        if self._joined is not None and self._joined[2] and dist.is_initialized():
            _abort_process_group()

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
        values: list[Untyped] = [None] * self.ranks
        dist.all_gather_object(values, value)
        self.check()
        return values

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
