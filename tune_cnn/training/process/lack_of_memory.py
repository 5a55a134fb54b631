"""Whether an error means that a device or the machine had no room, and who held the memory that was lacking."""

import re
from dataclasses import dataclass

import torch

from tune_cnn.errors import first_line
from tune_cnn.training.process.memory_share import CONTEXT_MIB

# None of these libraries has a type of exception for it. By what they write (torch 2.11 to 2.15, cuDNN 9, NCCL 2.30):
NO_ROOM = (
    "out of memory",  # CUDA's runtime and driver, and NCCL and Triton, which quote them
    "_ALLOC_FAILED",  # cuBLAS, cuSOLVER, cuSPARSE, cuFFT, cuDNN 8
    "_ALLOCATION_FAILED",  # cuDNN 9, on the device and on the host
    "DefaultCPUAllocator: can't allocate memory",
)
OF_THE_MACHINE = ("DefaultCPUAllocator", "_HOST_ALLOCATION_FAILED")
# What they write for want of memory, and of other things too: it counts where memory is seen to be short.
PERHAPS_NO_ROOM = (
    "unable to find an engine to execute this computation",  # no workspace for any of cuDNN's
    "Unable to find a valid cuDNN algorithm",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # no room for its handle
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "ncclUnhandledCudaError",  # says which error it was in a further line, which may be missing
)
_SIZE = r"([\d.]+ (?:bytes|KiB|MiB|GiB|TiB))"
_ASKED = re.compile(
    rf"Tried to allocate {_SIZE}\. GPU \d+ has a total capacity of {_SIZE} of which {_SIZE} is free\."
    rf"(?:.*? {_SIZE} allowed;)? ?.*?Of the allocated memory {_SIZE} is allocated by PyTorch,.*?"
    rf"and {_SIZE} is reserved by PyTorch but unallocated",
    re.DOTALL,
)
_UNITS_MIB = {"bytes": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2**10, "TiB": 2**20}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A device at the moment when this process got no memory of it."""

    total_mib: float
    free_mib: float  # of the device, for whoever takes it
    held_mib: float  # by this process's allocator
    cap_mib: float  # the most that its allocator may hold
    asked_mib: float | None = None  # None: by a library, beside the allocator
    refused: bool = True  # whether the allocator has refused anything since the trial began

    @property
    def room_mib(self) -> float:
        """What the allocator has for itself where nobody but the study uses the device."""
        return min(self.cap_mib, self.total_mib - CONTEXT_MIB)

    @property
    def shared(self) -> bool:
        """Whether the room is a share of the device."""
        return self.cap_mib < self.total_mib - CONTEXT_MIB

    @property
    def taken_mib(self) -> float:
        """Of the room, what is neither held nor free any more: the other slots stay within theirs."""
        return self.room_mib - self.held_mib - self.free_mib

    @property
    def is_short(self) -> bool:
        """Whether so little was left that a library may have failed for it."""
        return self.refused or self.free_mib < CONTEXT_MIB

    @property
    def is_others_doing(self) -> bool:
        """Whether what was asked for would have fitted if only the study used the device.

        Contexts differ in what they take, so less than one more of them is nobody's.
        """
        fits = self.asked_mib is None or self.held_mib + self.asked_mib <= self.room_mib
        return fits and self.taken_mib > CONTEXT_MIB


def is_out_of_memory(error: BaseException, lack: Lack | None) -> bool:
    """Whether a device or the machine had no room. `lack`: how the device was; None where it has no part in it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = str(error)
    if any(text in said for text in NO_ROOM):
        return True
    return lack is not None and lack.is_short and any(text in said for text in PERHAPS_NO_ROOM)


def lack_behind(error: BaseException) -> Lack | None:
    """How the device was when the error was raised; None where it has no part in it, or can't be asked."""
    said = str(error)
    if isinstance(error, MemoryError) or any(text in said for text in OF_THE_MACHINE):
        return None
    return lack_told(said) or lack_found()


def lack_told(said: str) -> Lack | None:
    """By what torch's allocator says as it refuses, which is from that very moment; None of any other text."""
    found = _ASKED.search(said)
    if found is None:
        return None
    asked, total, free, cap, allocated, cached = (_mib(size) if size else None for size in found.groups())
    assert total is not None and free is not None and allocated is not None and cached is not None
    return Lack(
        total_mib=total,
        free_mib=free,
        held_mib=allocated + cached,
        cap_mib=total if cap is None else cap,
        asked_mib=asked,
    )


def lack_found() -> Lack | None:
    """By how the device is now; None where this process uses none, or its context is broken."""
    if not torch.cuda.is_initialized():
        return None
    try:
        free, total = torch.cuda.mem_get_info()
        stats = torch.cuda.memory_stats()
        fraction = torch.cuda.get_per_process_memory_fraction()
    except RuntimeError:
        return None
    return Lack(
        total_mib=total / 2**20,
        free_mib=free / 2**20,
        held_mib=stats.get("reserved_bytes.all.current", 0) / 2**20,
        cap_mib=fraction * total / 2**20,
        refused=stats.get("num_ooms", 0) > 0,
    )


def others_hold(lack: Lack) -> str:
    """What is said where the memory was lacking because of others."""
    return (
        f"the device is full of what others hold: of the {_gib(lack.room_mib)} that this training may take, "
        f"{_gib(lack.taken_mib)} were neither its own nor free; end what else uses the device (nvidia-smi lists it)"
    )


def own_lack(error: BaseException, lack: Lack | None) -> str:
    """What is said where the trial itself needs too much: of its share, or of the whole device or machine."""
    of = f" in its share of the device ({_gib(lack.cap_mib)} of {_gib(lack.total_mib)})" if lack and lack.shared else ""
    return f"out of memory{of}: {first_line(error)}"


def _mib(size: str) -> float:
    number, unit = size.split()
    return float(number) * _UNITS_MIB[unit]


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"
