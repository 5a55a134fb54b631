"""Ranks measure a configuration together: the same steps on each, and what they cost one another."""

from pathlib import Path

import pytest
from ranks import Processes, digits_job

from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.profiling.bench import RankBench

SETTINGS = {"steps_s": 0.1, "beside_s": 0.05, "evaluates": False}


def benched(number: int, address: str, jobs: list[TrainingJob]) -> list[dict[str, float]]:
    rank = RankBench(number)
    rank.join(ranks=2, init_method=address, cuda=False)
    try:
        return [rank.bench(job, **SETTINGS) for job in jobs]
    finally:
        rank.end()


def test_two_ranks_measure_the_same_and_what_they_cost_each_other(two_processes: Processes, tmp_path: Path) -> None:
    """One configuration after another, by two loaders."""
    jobs = [
        digits_job(tmp_path, job={"ranks": 2}),
        digits_job(tmp_path, job={"ranks": 2}, loader="stream"),
    ]
    found, other = two_processes.call(benched, two_processes.address(), jobs)
    assert found == other
    for one in found:
        assert 0 <= one["communication_pct"] <= 100
        assert one["slowest_rank_ratio"] >= 1
        assert one["images_per_s"] > 0 and one["ceiling_images_per_s"] > 0


def test_no_rank_costs_a_single_one_anything(tmp_path: Path) -> None:
    found = RankBench().bench(digits_job(tmp_path), **SETTINGS)
    assert not {"communication_pct", "slowest_rank_ratio"} & found.keys()


@pytest.mark.parametrize("batch_size", [2, 3])
def test_a_batch_too_small_to_halve_has_no_fixed_part(tmp_path: Path, batch_size: int) -> None:
    """Batch normalisation can't take one value a channel."""
    found = RankBench().bench(digits_job(tmp_path, batch_size=batch_size), **SETTINGS)
    assert "fixed_pct" not in found
