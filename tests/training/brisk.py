"""Knobs under which strategies act within a few epochs of a small set; every strategy not named has its defaults."""

from typing import Any

from ranks import digits_job

from tune_cnn.spec.strategies import conflict
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.strategies.framework.registry import find_strategies

EPOCHS = 4
KNOBS: dict[str, dict[str, Any]] = {
    "ghost_batch_norm": {"size": 16},
    "regime_adaptation": {"base_batch": 160},
    "early_bird": {"window": 2},
    "layer_replacement": {"measure": "flops", "budget": 0.7},
    "lottery_ticket": {"levels": 1},
    "prunetrain": {"lpr": 0.5, "threshold": 0.08},
    "net2net": {"start_depth": 0.0},  # narrower and shallower
    "weight_norm": {"include_linear": True},
    "ema": {"decay": 0.8, "every": 2, "statistics": "refreshed"},
    "selective_backprop": {"every": 2},
}
NAMES = sorted(find_strategies())
CARDS = {name: kind.card() for name, kind in find_strategies().items()}
PAIRS = [(a, b) for a in NAMES for b in NAMES if a < b and conflict(CARDS[a], CARDS[b]) is None]


def flat(*names: str) -> dict[str, Any]:
    """A configuration's `strategies` with these on, and what they need."""
    whole = dict.fromkeys([*names, *(needed for name in names for needed in CARDS[name].needs)])
    knobs = {f"{name}.{knob}": value for name in whole for knob, value in KNOBS.get(name, {}).items()}
    return {**dict.fromkeys(whole, True), **knobs}


def job_with(folder: Any, *names: str, model: str = "small_cnn", **settings: Any) -> TrainingJob:
    """Four epochs of two steps and a smaller one, with these strategies on."""
    return digits_job(
        folder, model=model, **{"strategies": flat(*names), "epochs": EPOCHS, "batch_size": 200, **settings}
    )
