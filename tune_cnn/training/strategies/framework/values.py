"""Values that a model holds for a while: to be evaluated with, not to learn from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def put_values(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy them into the model's own tensors, by name: what works on these tensors goes on to."""
    own = model.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


@contextmanager
def holding(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it the model holds these values, by name; afterwards its own again."""
    own = model.state_dict()
    kept = {name: own[name].clone() for name in values}
    put_values(model, values)
    try:
        yield
    finally:
        put_values(model, kept)
