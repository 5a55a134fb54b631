"""Small specs and made-up curves."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.spec import StudySpec, load_spec, parse_spec


@pytest.fixture
def spec() -> Callable[..., StudySpec]:
    """A spec over the joint recipe's space, or over another."""

    def make(space: dict[str, Any] | None = None, **changes: Any) -> StudySpec:
        raw = load_spec("joint").model_dump()
        return parse_spec({**raw, **({"space": space} if space is not None else {}), **changes})

    return make


@pytest.fixture
def curve() -> Callable[..., Sequence[EpochPoint]]:
    """Two epochs of a made-up trial: larger batches are faster and less accurate."""

    def make(trial: int, params: dict[str, Any]) -> Sequence[EpochPoint]:
        batch, rate = params.get("batch_size", 64), params.get("learning_rate", 0.1)
        return [
            EpochPoint(
                trial=trial,
                epoch=epoch,
                metrics={
                    "accuracy": min(0.99, 0.5 + 0.1 * epoch + 1 / batch - abs(rate - 0.1)),
                    "train_time_s": epoch * 600 / batch,
                    "peak_memory_mib": 2.0 * batch,
                },
            )
            for epoch in (1, 2)
        ]

    return make
