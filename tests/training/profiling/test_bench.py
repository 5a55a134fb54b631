"""What a configuration's steps cost is measured on real steps, warm from one to the next."""

import math
from pathlib import Path

import pytest
from ranks import digits_job

from tune_cnn.errors import TrialError
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.profiling.bench import RankBench, communication, fixed_pct

ALWAYS = {
    "images_per_s",
    "step_time_ms",
    "data_wait_pct",
    "cpu_util_pct",
    "peak_memory_mib",
    "loader_images_per_s",
    "ceiling_images_per_s",
    "fixed_pct",
    "compile_time_s",
    "loader_start_s",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def rank():
    bench = RankBench()
    yield bench
    bench.end()


def measured(rank: RankBench, job: TrainingJob, *, evaluates: bool = False) -> dict[str, float]:
    return rank.bench(job, steps_s=0.1, beside_s=0.05, evaluates=evaluates)


@pytest.mark.parametrize("loader", [{"loader": "device"}, {"loader": "batched"}, {"loader": "stream"}])
def test_what_can_be_measured_on_a_cpu_is_and_nothing_else(rank, folder, loader):
    """No GPU's metric, none of other ranks, and no evaluation where none was asked for."""
    found = measured(rank, digits_job(folder, **loader))
    assert set(found) - {"train_time_s", "data_wait_s", "taken_pct"} == ALWAYS
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert found["train_time_s"] >= 0.1
    assert found["images_per_s"] > 0


def test_the_evaluation_is_timed_where_it_is_asked_for(rank, folder):
    assert measured(rank, digits_job(folder), evaluates=True)["eval_time_s"] > 0


def test_it_goes_on_after_a_configuration_that_can_not_be_trained(rank, folder):
    """As a batch larger than the set."""
    with pytest.raises(TrialError, match="batch"):
        measured(rank, digits_job(folder, batch_size=100_000))
    assert measured(rank, digits_job(folder))["images_per_s"] > 0


def test_an_epoch_of_one_step_is_gone_through_again_and_again(rank, folder):
    assert measured(rank, digits_job(folder, batch_size=540))["images_per_s"] > 0


def test_strategies_that_count_epochs_are_measured_too(rank, folder):
    """One whose checkpoints lie between epochs alone can still be left within one."""
    assert measured(rank, digits_job(folder, strategies={"s3pool": True}))["images_per_s"] > 0


def test_what_half_a_batch_takes_just_as_well_is_fixed():
    """From a step on the whole and on a part: a line through both, cut off at nothing and at all of it."""
    assert fixed_pct(10.0, 10.0, 0.5) == 100
    assert fixed_pct(10.0, 5.0, 0.5) == 0
    assert fixed_pct(10.0, 7.0, 0.5) == pytest.approx(40)
    assert fixed_pct(10.0, 4.0, 0.5) == 0


def test_what_ranks_cost_is_told_from_a_rank_that_is_slow():
    exchange = communication(20.0, [10.0, 10.0])
    throttled = communication(20.0, [4.0, 20.0])
    assert exchange == {"communication_pct": pytest.approx(50), "slowest_rank_ratio": 1}
    assert throttled == {"communication_pct": pytest.approx(40), "slowest_rank_ratio": pytest.approx(20 / 12)}
    assert communication(9.0, [10.0, 10.0])["communication_pct"] == 0
