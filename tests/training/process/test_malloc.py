"""Freed memory is kept while a trial trains and given back between trials."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ranks
import torch
from ranks import digits_job

from tune_cnn.training.process.malloc import give_back_freed_memory, keep_freed_memory, set_thresholds
from tune_cnn.training.rank import RankTraining

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
BLOCK_BYTES = 256 * 2**20


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture(scope="module")
def resident(tmp_path_factory) -> dict[str, int]:
    """Resident bytes, at each moment, of a process of its own: what other tests left in a heap decides where a block
    lies, and so whether it can be kept."""
    paths = [str(Path(ranks.__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path_factory.mktemp("heap"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kept_until_it_is_given_back(resident):
    assert resident["full"] - resident["before"] > 0.9 * BLOCK_BYTES
    assert resident["full"] - resident["freed"] < 0.1 * BLOCK_BYTES
    assert resident["full"] - resident["given back"] > 0.9 * BLOCK_BYTES


def test_a_trials_end_gives_it_back(resident):
    assert resident["in a trial"] - resident["after the trial"] > 0.9 * BLOCK_BYTES


def measure(folder: str) -> dict[str, int]:
    keep_freed_memory()
    found = {"before": resident_bytes()}
    block = torch.ones(BLOCK_BYTES // 4)
    found["full"] = resident_bytes()
    del block
    found["freed"] = resident_bytes()
    give_back_freed_memory()
    found["given back"] = resident_bytes()
    rank = RankTraining()
    rank.begin(digits_job(Path(folder)))
    block = torch.ones(BLOCK_BYTES // 4)
    del block
    found["in a trial"] = resident_bytes()
    rank.end()
    return {**found, "after the trial": resident_bytes()}


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
