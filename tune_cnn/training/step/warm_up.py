"""First compile and device warm-up, on a copy that is thrown away."""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tune_cnn.errors import first_line
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.process.compiling import cached_pct
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluate_first_and_last, evaluation_images
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.train_state import make_train_state
from tune_cnn.training.step.train_step import train_step
from tune_cnn.untyped import Untyped

PASSES = 3  # cuDNN picks its algorithm in the first; torch.compile may compile the second anew; the third is as usual
SMALL_RATE = 1e-6  # of the copy: what it learns is of no use, but it must stay finite
LARGEST_EVALUATION = 1024  # images of a pass: more gain nothing on any GPU
LITTLE_BYTES = 64 * 2**20  # that an evaluation may take, however little training does


def needs_warm_up(context: TrialContext) -> bool:
    """Where there is something to compile or a device to wake; a CPU's first step is like any other."""
    return context.job.configuration.compile or context.device.type == "cuda"


def warm_up(model: nn.Module, context: TrialContext, batches: Sequence[Batch], *, some_unused: bool) -> None:
    """Train a copy of `model` a few steps on these batches, one of every size that will come, and evaluate it.

    Whole steps, of all that the real ones are made of: loaded batch, model, loss scaling, clipping, optimizer. What was
    seen meanwhile stands in `context.seen`. The model itself is not touched; torch's generators are moved on, so seed
    them afterwards. Compiled code is found again by the real model, being the same class with the same shapes. All
    ranks come here together, as they are one group.
    """
    device, seen = context.device, context.seen
    throw_away = copy.deepcopy(model)
    state = make_train_state(throw_away, context, lambda step: SMALL_RATE, some_unused=some_unused)
    state.model.train()
    from_cache = cached_pct()
    with _peak(device) as training:
        for batch in batches:
            for _ in range(PASSES):
                train_step(state, StepHooks(), batch)
    seen.cached_pct = from_cache() if context.job.configuration.compile else None
    before = _host_generators()
    seen.waits = _wait_for_device(lambda: train_step(state, StepHooks(), batches[0]), context)
    seen.draws_on_host = before != _host_generators()
    if device.type == "cuda":
        state.optimizer.zero_grad(set_to_none=True)
        seen.evaluation_images = _evaluation_images(throw_away, context, training.bytes)
        evaluate_first_and_last(throw_away, context, context.images.validation)
        torch.cuda.synchronize(device)


def _host_generators() -> tuple[object, ...]:
    """Where the CPU's global generators stand."""
    numpys: Untyped = np.random.get_state(legacy=True)
    return random.getstate(), numpys[1].tobytes(), numpys[2], torch.get_rng_state().numpy().tobytes()


def _wait_for_device(step: Callable[[], None], context: TrialContext) -> str | None:
    """Take a step; how torch says that it waited for the device, where it did. (Not asked of a rank among others: one
    that gave up in the middle of a step would leave them waiting.)"""
    if context.device.type != "cuda" or context.group.ranks > 1:
        step()
        return None
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        if "synchronizing" not in str(error):
            raise
        return first_line(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def _evaluation_images(model: nn.Module, context: TrialContext, training_bytes: int) -> int | None:
    """Images of an evaluation's pass for which there is room; None: the usual number.

    A repeat to the bit wants the number that doesn't depend on what is measured.
    """
    usual = evaluation_images(context)
    if context.job.deterministic or usual >= LARGEST_EVALUATION:
        return None
    with _peak(context.device) as usually:
        evaluate_first_and_last(model, context, context.images.validation)
    # What a captured step works in is its own for good: an evaluation's memory comes on top.
    room = max(LITTLE_BYTES, training_bytes // 4 if context.job.capture_steps else training_bytes)
    return fitting_images(usual, usually.bytes, room)


def fitting_images(usual: int, usual_bytes: int, room_bytes: int) -> int:
    """The usual number, doubled as often as its memory goes into the room, up to `LARGEST_EVALUATION`."""
    times = min(LARGEST_EVALUATION // usual, room_bytes // max(1, usual_bytes))
    return usual << (max(1, times).bit_length() - 1)


@dataclass
class _Peak:
    bytes: int = 0


@contextmanager
def _peak(device: torch.device) -> Iterator[_Peak]:
    """The most memory of the device that was in use within, above what was in use before; 0 on a CPU."""
    found = _Peak()
    if device.type != "cuda":
        yield found
        return
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield found
    torch.cuda.synchronize(device)
    found.bytes = torch.cuda.max_memory_allocated(device) - before
