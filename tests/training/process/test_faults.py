"""Errors while training come out as what they mean for the trial and for the process."""

import weakref

import pytest
import torch

from tune_cnn.errors import DeviceLost, ModelError, OutOfMemory, PeerLost, TrialError
from tune_cnn.training.process.faults import trial_faults


def outcome(error: Exception) -> BaseException:
    with pytest.raises(BaseException) as caught, trial_faults("training"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried 8 GB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_no_room_is_out_of_memory(error):
    """A violated constraint of the trial, wherever it shows."""
    assert type(outcome(error)) is OutOfMemory


def test_really_too_much_memory_is_out_of_memory():
    """What torch itself raises on this machine's CPU."""
    with pytest.raises(OutOfMemory), trial_faults("training"):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"),
        RuntimeError("Application timeout caused pair closure"),
        RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 3000ms for"
        ),
        RuntimeError("Timed out waiting 1800000ms for send operation to complete"),
        torch.distributed.DistNetworkError("The client socket has timed out after 600000ms"),
        torch.distributed.DistBackendError("NCCL communicator was aborted on rank 1"),
    ],
)
def test_a_failed_collective_is_a_lost_peer(error):
    """Not the trial's fault: it may be repeated."""
    assert type(outcome(error)) is PeerLost


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA driver error: unspecified launch failure"),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
        RuntimeError("Triton Error [CUDA]: misaligned address"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
)
def test_a_broken_context_is_a_lost_device(error):
    """Whoever says it: the process is of no more use, so no trial's end may hide it."""
    assert type(outcome(error)) is DeviceLost


@pytest.mark.parametrize(
    "said", ["no kernel image is available for execution on the device", "the provided PTX was compiled with an unsup"]
)
def test_a_device_without_code_is_no_lost_device(said):
    """A fresh process would fail in the same way: the trial ends at once, not at its third start."""
    assert type(outcome(torch.AcceleratorError(f"CUDA error: {said}"))) is TrialError


def test_the_users_error_is_named_with_its_place():
    """What raised, what it said, where."""
    found = outcome(ZeroDivisionError("division by zero"))
    assert type(found) is TrialError
    assert "training raised ZeroDivisionError: division by zero (test_faults.py, line " in str(found)


def test_wrong_input_of_one_trial_ends_that_trial():
    """A searched argument that the model refuses is no reason to end the search."""
    assert str(outcome(ModelError("width must be at least 1"))) == "training: width must be at least 1"


def test_an_error_keeps_no_tensor_alive():
    """A warm process goes on with the next trial while the error is being told."""
    alive = []

    def fail() -> None:
        batch = torch.zeros(3)
        alive.append(weakref.ref(batch))
        raise ValueError("no")

    with pytest.raises(TrialError) as caught, trial_faults("training"):
        fail()
    assert caught.value.__cause__ is not None and alive[0]() is None
