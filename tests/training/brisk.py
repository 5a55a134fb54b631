"""Knobs under which strategies act within a few epochs of a small set; every strategy not named has its defaults."""

from typing import Any

from ranks import digits_job
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.spec.strategies import conflict
from tune_cnn.training.messages import TrainingJob
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
PAIRS = [(a, b) for a in NAMES for b in NAMES if a < b and conflict(CARDS[a], CARDS[b]) is None]


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
    whole = dict.fromkeys([*names, *(needed for name in names for needed in CARDS[name].needs)])
    knobs = {f"{name}.{knob}": value for name in whole for knob, value in KNOBS.get(name, {}).items()}
    return {**dict.fromkeys(whole, True), **knobs}


def job_with(folder: Any, *names: str, model: str = MODEL, **settings: Any) -> TrainingJob:
    """Four epochs of two steps and a smaller one, with these strategies on."""
    usual = {"strategies": flat(*names), "epochs": EPOCHS, "batch_size": 200, "schedule": "step"}
    return digits_job(folder, model=model, **{**usual, **settings})
