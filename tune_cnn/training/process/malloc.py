"""The C library's heap, told to keep what a training step frees: the next step asks for the same blocks again.

By default glibc gives large blocks back to the kernel as they are freed, which fills the next ones with zeros, page by
page: up to 40 % of a LeNet-5 step of 1,024 images on a CPU. Where the C library is another one, nothing is done.
"""

import ctypes
from collections.abc import Callable
from functools import cache

from tune_cnn.untyped import Untyped

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 2**31 - 1  # the largest number that mallopt takes: no block is too large, no heap too long
_KEPT_BYTES_OLD = 32 * 2**20  # glibc before about 2.35 refuses more: HEAP_MAX_SIZE / 2, where its own raising ends


def keep_freed_memory() -> None:
    """From here on this process keeps what it frees, until `give_back_freed_memory`. Idempotent."""
    libc = _glibc()
    if libc is not None:
        set_thresholds(libc.mallopt)


def set_thresholds(mallopt: Callable[[int, int], int]) -> None:
    """By the C library's `mallopt`, which gives 1 where it has done as asked.

    Any call that is taken ends glibc's own raising of the largest kept block, which begins at 128 KiB: so that block
    is set first, and where it can't be, nothing is.
    """
    if any(mallopt(_M_MMAP_THRESHOLD, kept) == 1 for kept in (_KEPT_BYTES, _KEPT_BYTES_OLD)):
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Give what is free back to the kernel: once, between trials."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Untyped:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
