"""What a configuration's steps cost is measured on real steps, and its parts make sense of one another."""

from pathlib import Path

import pytest
from ranks import digits_job

from tune_cnn.training.profiling.bench import RankBench


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
