"""The global generators of random numbers, set for a call of the user's: every process draws the same."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def drawn_alike(seed: int) -> Iterator[None]:
    """Python's, numpy's and torch's generators begin with the seed, and are afterwards as they were before."""
    python, numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would begin the GPUs' anew, too
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(of_torch)
