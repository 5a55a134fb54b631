"""Freed memory is kept while a trial trains and given back between trials."""

import ctypes
import platform

import psutil
import pytest
import torch
from ranks import digits_job

from tune_cnn.training.process.malloc import give_back_freed_memory, keep_freed_memory, set_thresholds
from tune_cnn.training.rank import RankTraining

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
BLOCK_BYTES = 256 * 2**20


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def test_kept_until_it_is_given_back():
    keep_freed_memory()
    try:
        before = resident_bytes()
        block = torch.ones(BLOCK_BYTES // 4)
        full = resident_bytes()
        assert full - before > 0.9 * BLOCK_BYTES
        del block
        assert full - resident_bytes() < 0.1 * BLOCK_BYTES
        give_back_freed_memory()
        assert full - resident_bytes() > 0.9 * BLOCK_BYTES
    finally:
        _as_glibc_has_it()


def test_a_trials_end_gives_it_back(tmp_path):
    rank = RankTraining()
    try:
        rank.begin(digits_job(tmp_path))
        block = torch.ones(BLOCK_BYTES // 4)
        del block
        kept = resident_bytes()
        rank.end()
        assert kept - resident_bytes() > 0.9 * BLOCK_BYTES
    finally:
        rank.end()
        _as_glibc_has_it()


MMAP, TRIM = -3, -1  # malloc.h
LARGEST, OF_OLD = 2**31 - 1, 32 * 2**20


@pytest.mark.parametrize(
    ("most", "called"),
    [
        (LARGEST, [(MMAP, LARGEST), (TRIM, LARGEST)]),
        (OF_OLD, [(MMAP, LARGEST), (MMAP, OF_OLD), (TRIM, LARGEST)]),
        (512 * 1024, [(MMAP, LARGEST), (MMAP, OF_OLD)]),
    ],
    ids=["glibc of today", "before 2.35", "before 2.35 on 32 bits"],
)
def test_a_refused_size_of_blocks_leaves_glibcs_own(most, called):
    """Any other call would end its raising of that size, which is better than its first value for good."""
    calls = []

    def mallopt(parameter, value):
        calls.append((parameter, value))
        return int(parameter == TRIM or value <= most)

    set_thresholds(mallopt)
    assert calls == called


def _as_glibc_has_it() -> None:
    """malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD at their first values, for the tests to come."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-1, 128 * 1024)
    libc.mallopt(-3, 128 * 1024)
