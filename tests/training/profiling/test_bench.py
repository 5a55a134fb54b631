"""What a configuration's steps cost is measured on real steps, and its parts make sense of one another."""

import math
from pathlib import Path

import pytest
from ranks import digits_job

from tune_cnn.training.profiling.bench import RankBench, communication, fixed_pct
from tune_cnn.training.profiling.pace import LEAST_STEPS, Pace, Then
from tune_cnn.training.process.process_group import ProcessGroup


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench")


def bench(folder: Path, **configuration):
    rank = RankBench()
    return rank.bench(digits_job(folder, **configuration), steps_s=0.2, beside_s=0.1, evaluates=True)


def test_bench(folder):
    found = bench(folder, loader="batched", loader_workers=1)
    print(found)
    found = bench(folder, loader="device", batch_size=8)
    print(found)
