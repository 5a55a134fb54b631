"""Knobs under which strategies act within a few epochs of a small set; every strategy not named has its defaults."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from ranks import digits_job
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.spec.strategies import conflict
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.rebuild import rebuilt
from tune_cnn.training.strategies.framework.registry import find_strategies

EPOCHS = 4
MODEL = f"{__name__}:little"
KNOBS: dict[str, dict[str, Any]] = {
    "ghost_batch_norm": {"size": 16},
    "regime_adaptation": {"base_batch": 160},
    "early_bird": {"window": 2},
    "layer_replacement": {"measure": "flops", "budget": 0.7},
    "lottery_ticket": {"levels": 1},
    "prunetrain": {"lpr": 0.5, "threshold": 0.08},
    "net2net": {"start_depth": 0.0},  # narrower and shallower
    "weight_norm": {"include_linear": True},
    "ema": {"decay": 0.8, "every": 2},
    "selective_backprop": {"every": 2},
    "isgd": {"sigmas": 0.0},
    "progressive_resizing": {"start": 0.75, "until": 0.3},  # losses of other sides do not compare
    "ssf": {"structure": "given"},  # learning dictionaries takes longer than all the rest
}
NAMES = sorted(find_strategies())
CARDS = {name: kind.card() for name, kind in find_strategies().items()}


def with_needs(*names: str) -> list[str]:
    """These strategies, and those that they need."""
    return list(dict.fromkeys([*names, *(needed for name in names for needed in sorted(CARDS[name].needs))]))


def go_together(*names: str) -> bool:
    whole = with_needs(*names)
    return all(conflict(CARDS[a], CARDS[b]) is None for a in whole for b in whole if a < b)


PAIRS = [(a, b) for a in NAMES for b in NAMES if a < b and go_together(a, b)]


class Residual(nn.Module):
    """Two convolutions beside their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, images_nchw: Tensor) -> Tensor:
        return F.relu(images_nchw + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images_nchw))))))


def little(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """All that strategies act on: large kernels, max pooling, batch normalisation, residual blocks, a layer between."""

    def normed(channels: int, to: int, kernel: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, to, kernel, padding=kernel // 2, bias=False)
        return [convolution, nn.BatchNorm2d(to), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *normed(in_channels, 8, 5),
        Residual(8),
        nn.MaxPool2d(2),
        *normed(8, 16, 3),
        Residual(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def flat(*names: str) -> dict[str, Any]:
    """A configuration's `strategies` with these on, and what they need."""
    whole = with_needs(*names)
    knobs = {f"{name}.{knob}": value for name in whole for knob, value in KNOBS.get(name, {}).items()}
    return {**dict.fromkeys(whole, True), **knobs}


def job_with(folder: Any, *names: str, model: str = MODEL, **settings: Any) -> TrainingJob:
    """Four epochs of two steps and a smaller one, with these strategies on."""
    usual = {"strategies": flat(*names), "epochs": EPOCHS, "batch_size": 200, "schedule": "step"}
    return digits_job(folder, model=model, **{**usual, **settings})


ONE = RankTraining()


def trained(job: TrainingJob) -> tuple[list[EpochResult], dict[str, Tensor], nn.Module, list[Any]]:
    """Results, weights, the trained model and what rebuilds it. One process's ranks measure each model once."""
    ONE.begin(job)
    try:
        results: list[EpochResult] = []
        while not (results and results[-1].done):
            result = ONE.train_epoch()
            assert isinstance(result, EpochResult), "nobody leaves the epoch"
            results.append(result)
        return results, ONE.weights(), ONE._current.model, ONE.changes()
    finally:
        ONE.end()


def finite(results: Iterable[EpochResult]) -> bool:
    return all(math.isfinite(value) for result in results for value in result.metrics.values())


def loads_again(model: nn.Module, weights: dict[str, Tensor], changes: list[Any], folder: Path) -> None:
    """The factory's model, rebuilt by the recorded changes, takes the weights and gives the same answers."""
    path = folder / "changes.json"
    path.write_text(json.dumps(changes))
    fresh = rebuilt(build_model(MODEL, num_classes=10, in_channels=1, image_size=(8, 8)), path)
    fresh.load_state_dict(weights)
    images_nchw = torch.randn(7, 1, 8, 8)
    model.to(memory_format=torch.contiguous_format)  # as the fresh one: another layout may round otherwise
    with torch.inference_mode():
        assert torch.equal(fresh.eval()(images_nchw), model.eval()(images_nchw))


def groups() -> list[list[str]]:
    """Large groups of strategies that go together, few, in which each of them is once at least."""
    chosen: list[list[str]] = []
    left = list(NAMES)
    while left:
        group: list[str] = []
        for name in [*left, *NAMES]:
            if name not in group and go_together(name, *group):
                group = with_needs(*group, name)
        chosen.append(sorted(group))
        left = [name for name in left if name not in group]
    return chosen
