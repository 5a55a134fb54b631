"""A loader that is slowed on purpose is what the verdict names, on steps that were really taken."""

from pathlib import Path

import pytest

from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.study.profiling.rules import Bound, stall_of
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.profiling.bench import RankBench


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_sleeps_is_what_holds_the_steps_up(tmp_path: Path, workers: int) -> None:
    """By a wide margin, so that no other work on the machine hides it; beside the step or in its turn."""
    job = TrainingJob(
        trial=0,
        configuration=Configuration(batch_size=16, loader="stream", loader_workers=workers),
        data=DataSpec(name="study.profiling.slow_images:slow", root=str(tmp_path), validation=0.2),
        model=ModelSpec(name="small_cnn"),
        cache_dir=str(tmp_path / "cache"),
    )
    found = RankBench().bench(job, steps_s=0.1, beside_s=0.05, evaluates=False)
    assert found["loader_images_per_s"] < 55  # one reader sleeps 20 ms an image
    assert found["data_wait_pct"] > 50
    assert stall_of(found, workers=workers).bound is Bound.LOADER
