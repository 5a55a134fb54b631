"""Random numbers of a trial: every epoch's are drawn anew from (seed, epoch, rank); within one they must be saved."""

import random
from collections.abc import Mapping

import numpy as np
import torch

from tune_cnn.untyped import Untyped


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (the CPU's and every CUDA device's) from these numbers.

    Done before each epoch, so that a resumed trial draws what an uninterrupted one would have drawn, whatever the
    evaluation, a warm-up or the user's code has drawn in between.
    """
    low, high = (int(word) for word in np.random.SeedSequence(entropy).generate_state(2, np.uint32))
    random.seed(low)
    np.random.seed(high)
    torch.manual_seed(high << 32 | low)


def generators_state(device: torch.device) -> dict[str, Untyped]:
    """Where those generators stand: plain values and tensors of the CPU. `device`: the one on which is trained."""
    numpys: Untyped = np.random.get_state(legacy=False)
    state = {**numpys["state"], "key": numpys["state"]["key"].tolist()}
    return {
        "python": random.getstate(),
        "numpy": {**numpys, "state": state},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_generators(state: Mapping[str, Untyped], device: torch.device) -> None:
    """Draw from here what would have been drawn there; on another kind of device its own generator stays seeded."""
    random.setstate(state["python"])
    key = np.array(state["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
