"""Random numbers of a trial: every epoch's are drawn anew from (seed, epoch, rank), so none needs to be saved."""

import random

import numpy as np
import torch


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (the CPU's and every CUDA device's) from these numbers.

    Done before each epoch, so that a resumed trial draws what an uninterrupted one would have drawn, whatever the
    evaluation, a warm-up or the user's code has drawn in between.
    """
    low, high = (int(word) for word in np.random.SeedSequence(entropy).generate_state(2, np.uint32))
    random.seed(low)
    np.random.seed(high)
    torch.manual_seed(high << 32 | low)
