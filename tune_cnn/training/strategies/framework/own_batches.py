"""Batches of training images that a strategy asks for beside the steps, equal on all ranks, and their arithmetic."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.mixing import MIXING, Mixing, drawn, mixed
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.step.context import TrialContext


def sampled(context: TrialContext, batch_size: int, most: int | None) -> Int64:
    """Places in the training split of as many images as a rank's share of a batch has; of `most` at most. As steps draw
    them: where they show all classes equally often, these do too."""
    images = context.images.train
    wanted = max(2, batch_size // context.group.ranks)
    count = min(wanted, len(images), most or wanted)
    return context.epoch_order(0)[:count]


def plain_batch(context: TrialContext, positions_n: Int64) -> Batch:
    """These training images, normalised, not augmented, on the device."""
    images, facts, device = context.images.train, context.images.facts, context.device
    raw_nchw = torch.from_numpy(images.fetch(positions_n, context.job.threads)).to(device)
    normalise = Normaliser(facts.mean, facts.std, device, context.job.configuration.channels_last)
    return Batch(normalise(raw_nchw), torch.from_numpy(images.labels_n[positions_n]).to(device))


def mixed_as_in_steps(context: TrialContext, batch: Batch, epoch: int, draw: int) -> Batch:
    """Images and labels mixed as those of steps are; as they are where none are mixed."""
    mixing = Mixing.of(context.job.configuration)
    if mixing is None:
        return batch
    height, width = batch.images_nchw.shape[-2:]
    random = np.random.default_rng((context.job.seed, epoch, MIXING, 0, draw))  # (those of steps: of four numbers)
    pairing = drawn(mixing, random, len(batch.labels_n), (height, width)).to(context.device)
    return mixed(batch, pairing, context.images.facts.num_classes)


def count_pass(passes: dict[str, int], images_nchw: torch.Tensor, *, backward: bool) -> None:
    """Add these images to `passes`, which counts images by the kind of their pass and their size."""
    height, width = images_nchw.shape[-2:]
    key = f"{'training' if backward else 'inference'} {height} {width}"
    passes[key] = passes.get(key, 0) + len(images_nchw)


def gflops_of(passes: Mapping[str, int], measured: Callable[[tuple[int, int]], ModelFacts]) -> float:
    """measured: what the model costs for an image of that height and width."""
    found = 0.0
    for key, images in passes.items():
        kind, height, width = key.split()
        facts = measured((int(height), int(width)))
        found += images * (facts.train_gflops if kind == "training" else facts.inference_gflops)
    return found
