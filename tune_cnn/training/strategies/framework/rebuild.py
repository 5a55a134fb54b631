"""The net that a training with strategies has written weights of, built again from its factory's."""

import json
from pathlib import Path

from torch import nn

from tune_cnn.errors import InputError
from tune_cnn.training.strategies.framework.registry import find_strategy


def rebuilt(model: nn.Module, changes: str | Path) -> nn.Module:
    """The factory's model with the structure that its strategies gave it; load the weights afterwards.

    changes: the JSON file that `tune-cnn train` lays beside the weights.
    """
    try:
        made = json.loads(Path(changes).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{changes}: is not the list of changes that `tune-cnn train` writes: {error}") from None
    for change in made:
        strategy = find_strategy(change["strategy"])()
        model = strategy.rebuild(model, change)
    return model
