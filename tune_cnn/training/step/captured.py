"""The whole training step as a CUDA graph: started at once, where its kernels would be started one by one.

A small net's step is some 60 kernels of a few microseconds each, and a CPU can't start them as fast as a GPU does them.
A graph is recorded once for each size of batch and then replayed on the same memory: it computes the same digits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from tune_cnn.spec.calls import is_call
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.step.train_step import train_step

Work = Callable[[], None]
RECORDABLE = frozenset({"sgd", "adamw", "sam"})  # optimizers that read all that changes between steps from the device


class Recorder(Protocol):
    """Who records the device's work."""

    def record(self, work: Work) -> Work:
        """What does that work again on the same memory; while it is recorded, nothing is done on the device."""
        ...


class CudaGraphs:
    """Recordings that share their memory, as only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: the one that pins the loader's batches may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            work()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """None where steps are taken at once anyway."""
    return CudaGraphs() if device.type == "cuda" else None


def why_not_captured(context: TrialContext, model: nn.Module, strategies: Sequence[str]) -> str | None:
    """Why the steps of this training are not captured, though it runs on a GPU; None: they can be.

    `model`: the bare one. `strategies`: those that are on and whose steps differ from one another.
    """
    job, seen = context.job, context.seen
    if not job.capture_steps:
        return "resources.capture_steps is false"
    if context.group.ranks > 1:
        return "the ranks of a group wait for each other within it"
    if job.configuration.optimizer not in RECORDABLE:
        return f"optimizer {job.configuration.optimizer} may wait for the GPU or count its steps on the CPU"
    if job.configuration.activation_checkpointing:
        return "activations are computed again within a step"
    if strategies:
        return f"the steps of {', '.join(strategies)} differ from one another"
    if is_call(job.model.name) and getattr(model, "capturable", False) is not True:
        return "the model is your own, whose steps may differ; `capturable = True` in its class says that they don't"
    if seen.draws_on_host:
        return "the model draws random numbers on the CPU"
    return f"the model waits for the GPU: {seen.waits}" if seen.waits is not None else None


class CapturedSteps:
    """Steps of one train state, by their batch's shape. Worth nothing once its model or optimizer is another."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._steps: dict[torch.Size, tuple[Batch, Work]] = {}

    def capture(self, state: TrainState, hooks: StepHooks, like: Batch) -> None:
        """Record a step for batches of this shape and layout. What it needs must have run before, on a copy.

        RuntimeError where the step waits for the device, or has no room.
        """
        fixed = Batch(*(torch.empty_like(part, device=state.device) for part in like))
        _keep_rate_on_device(state)
        state.scaler.scale(torch.zeros((), device=state.device))  # makes the scale, which must not be part of a step
        state.model.train()
        with _capturable(state.optimizer):
            replay = self._recorder.record(lambda: train_step(state, hooks, fixed))
        self._steps[like.images_nchw.shape] = (fixed, replay)

    def replay(self, batch: Batch) -> bool:
        """The step on this batch; False, with nothing done, where none of its shape was captured."""
        found = self._steps.get(batch.images_nchw.shape)
        if found is None:
            return False
        fixed, replay = found
        fixed.images_nchw.copy_(batch.images_nchw)
        fixed.labels_n.copy_(batch.labels_n)
        replay()
        return True


def _keep_rate_on_device(state: TrainState) -> None:
    """Each group reads its own from a tensor; a number would be recorded as it is now."""
    for group in state.optimizer.param_groups:
        if not isinstance(group["lr"], torch.Tensor):
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=state.device)


@contextmanager
def _capturable(optimizer: Optimizer) -> Iterator[None]:
    """Adam refuses to be recorded unless it is told so, and warns when it is told so and isn't recorded."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
