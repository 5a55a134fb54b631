"""Forward passes that leave batch normalisation's running statistics as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Within it, passes in training mode normalise by their batch as ever, and the running statistics don't follow."""
    following = [m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for module in following:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in following:
            module.track_running_stats = True
