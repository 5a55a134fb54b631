"""The C library's heap, told to keep what a training step frees: the next step asks for the same blocks again.

By default glibc gives large blocks back to the kernel as they are freed, which fills the next ones with zeros, page by
page: up to 40 % of a LeNet-5 step of 1,024 images on a CPU. Where the C library is another one, nothing is done.
"""

import ctypes
from functools import cache
from typing import Any

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 2**31 - 1  # the largest number that mallopt takes: no block is too large, no heap too long


def keep_freed_memory() -> None:
    """From here on this process keeps what it frees, until `give_back_freed_memory`. Idempotent."""
    libc = _glibc()
    if libc is not None:
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(parameter, _KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Give what is free back to the kernel: once, between trials."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
