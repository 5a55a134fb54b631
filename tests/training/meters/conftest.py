"""Meters of a trial on a CPU."""

from collections.abc import Iterator

import pytest
import torch

from tune_cnn.training.meters.meters import Meters


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters(torch.device("cpu"), gpu_share=0.0)
    made.begin()
    yield made
    made.close()
