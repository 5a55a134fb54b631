"""Running statistics of batch normalisation, taken anew for weights that no step has normalised with."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_cnn.training.strategies.framework.training_run import TrainingRun

REFRESH_IMAGES = 4096  # statistics of a channel need no more; the whole split where it is smaller


def tracking(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers that keep running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def refreshed(model: nn.Module, batches_nchw: Iterable[Tensor]) -> dict[str, Tensor]:
    """The running statistics that the model, as it is, would have from these batches alone; it is left as it was.

    Every batch counts the same (Izmailov et al., 2018, https://arxiv.org/abs/1803.05407, section 3.1).
    """
    layers = tracking(model)
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    momenta = {name: layer.momentum for name, layer in layers.items()}
    model.train()
    layers = {name: layer for name, layer in layers.items() if layer.training}  # those that rest keep theirs
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain mean over the batches
    with torch.no_grad():
        for images_nchw in batches_nchw:
            model(images_nchw)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    names = [f"{layer}.{what}".lstrip(".") for layer in layers for what in statistics]
    found = {name: model.get_buffer(name).clone() for name in names}
    for name, buffer in model.named_buffers():
        buffer.copy_(kept[name])
    for name, layer in layers.items():
        layer.momentum = momenta[name]
    for module, training in modes.items():
        module.training = training
    return found


def some_images(run: TrainingRun) -> Iterator[Tensor]:
    """Training images to refresh by, the same on all ranks, in batches as large as a rank's."""
    count, size = min(len(run.train_images), REFRESH_IMAGES), max(2, run.batch_size // run.group.ranks)
    drawn_n = np.random.default_rng((run.seed, 0)).permutation(len(run.train_images))[:count].astype(np.int64)
    whole = max(1, count // size) * size
    for start in range(0, min(whole, count), size):
        images_nchw = run.plain_batch(drawn_n[start : start + size]).images_nchw
        run.count_pass(images_nchw)
        yield images_nchw
