"""Whether a model takes smaller images than those it is built for."""

import copy

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.surgery.kernels import resize_images

IMAGES = 2  # enough to see whether they go through; batch normalisation of 1×1 maps needs two


def scaled(size: tuple[int, int], share: float) -> tuple[int, int]:
    """That share of both sides, in whole pixels."""
    height, width = (max(1, round(share * side)) for side in size)
    return height, width


def takes(model: nn.Module, images_nchw: Tensor, size: tuple[int, int]) -> bool:
    """Whether the model learns from images of that size; it is left as it was."""
    model = copy.deepcopy(model).train()
    try:
        with torch.no_grad():
            model(resize_images(images_nchw[:IMAGES], size))
    except Exception:  # the model may be the user's; what it raises on images it can't take is its own affair
        return False
    return True


def check_size(run: TrainingRun, size: tuple[int, int], *, knob: str, name: str) -> None:
    """StrategyError where the model can't learn from images of that size: the least that it takes."""
    full, images_nchw = run.facts.image_size, run.sample_batch().images_nchw
    if size == full:
        raise StrategyError(f"{name}: {knob} leaves {_sides(full)} as it is: nothing would be smaller; lower it")
    if takes(run.model, images_nchw, size):
        return
    larger = (scaled(full, side / full[0]) for side in range(size[0] + 1, full[0]))
    least = next((one for one in larger if takes(run.model, images_nchw, one)), None)
    if least is None:
        raise StrategyError(f"{name}: the model takes no images smaller than {_sides(full)}; leave the strategy out")
    raise StrategyError(
        f"{name}: {knob} makes images of {_sides(size)}, but the model takes {_sides(least)} at least; "
        f"raise it to {least[0] / full[0]:.3g}"
    )


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
