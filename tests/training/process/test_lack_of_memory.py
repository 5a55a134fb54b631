"""A lack of memory is recognised by what the libraries write, and whose doing it was by the device's figures."""

import pytest
import torch

from tune_cnn.errors import OutOfMemory, TrialError
from tune_cnn.states import TrialState
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.process.lack_of_memory import Lack, is_out_of_memory, lack_told
from tune_cnn.training.process.memory_share import CONTEXT_MIB
from tune_cnn.trials.trainable import end_of

FULL = Lack(total_mib=80_000, free_mib=200, held_mib=79_000, cap_mib=80_000, refused=False)
REFUSED = Lack(total_mib=80_000, free_mib=60_000, held_mib=18_000, cap_mib=19_000)
ROOMY = Lack(total_mib=80_000, free_mib=60_000, held_mib=5_000, cap_mib=80_000, refused=False)
NCCL = "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled cuda error (run with "
NCCL += "NCCL_DEBUG=INFO for details), NCCL version 2.30.7\nncclUnhandledCudaError: Call to CUDA function failed."


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA ran out of memory outside PyTorch's allocator. If this workload uses many dynamic shapes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuSOLVER error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        torch.distributed.DistBackendError(f"{NCCL}\nLast error:\nCuda failure 2 'out of memory'"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_each_library_says_in_its_own_words_that_there_was_no_room(error):
    """Wherever it stands in the text: NCCL names the cause in its last line."""
    with pytest.raises(OutOfMemory, match="training: out of memory"), trial_faults("training"):
        raise error


@pytest.mark.parametrize(
    "said",
    [
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        NCCL,
    ],
)
def test_what_may_have_other_causes_counts_where_memory_is_short(said):
    """Where the allocator has refused something in this trial, or the device is full; else it is what it says."""
    error = RuntimeError(said)
    assert is_out_of_memory(error, FULL) and is_out_of_memory(error, REFUSED)
    assert not is_out_of_memory(error, ROOMY) and not is_out_of_memory(error, None)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("out of resource: shared memory, Required: 164352, Hardware limit: 101376. Reducing block sizes"),
        ValueError("my own check: out of memory of past epochs"),
        RuntimeError("CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND"),
    ],
)
def test_what_only_sounds_like_it_is_no_lack_of_memory(error):
    """Triton's resources are a kernel's registers and shared memory: no smaller batch mends that."""
    assert not is_out_of_memory(error, FULL)


def torch_says(*, asked: str, free: str, allowed: str | None, allocated: str, cached: str = "10.00 MiB") -> str:
    """As CUDACachingAllocator of torch 2.15 writes it."""
    return (
        f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 79.11 GiB of which {free} is "
        "free. Process 4711 has 30.00 GiB memory in use. Including non-PyTorch memory, this process has 19.00 GiB "
        f"memory in use. {allowed + ' allowed; ' if allowed else ''}Of the allocated memory {allocated} is allocated "
        f"by PyTorch, with 2.00 MiB allocated in private pools (e.g., CUDA Graphs), and {cached} is reserved by "
        "PyTorch but unallocated. If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=…"
    )


def end_by(said: str) -> tuple[TrialState, str]:
    with pytest.raises(TrialError) as caught, trial_faults("training"):
        raise torch.OutOfMemoryError(said)
    return end_of(caught.value)


def test_what_the_allocator_says_is_read():
    """Every figure, in MiB; where no cap is told, the whole device is it."""
    told = lack_told(torch_says(asked="20.00 MiB", free="1.50 GiB", allowed="19.00 GiB", allocated="18.50 GiB"))
    assert told == Lack(
        total_mib=pytest.approx(79.11 * 1024), free_mib=1536, held_mib=18.5 * 1024 + 10, cap_mib=19 * 1024, asked_mib=20
    )
    whole = lack_told(torch_says(asked="512 bytes", free="0 bytes", allowed=None, allocated="70.00 GiB"))
    assert whole is not None and whole.cap_mib == whole.total_mib
    assert lack_told("CUDA out of memory. Tried to allocate more than 1EB memory.") is None


def test_a_share_used_up_is_the_trials_own_lack_and_teaches():
    """However full the device is of others: it would not have fitted."""
    for free in ("40.00 GiB", "5.00 MiB"):
        state, reason = end_by(torch_says(asked="2.00 GiB", free=free, allowed="19.00 GiB", allocated="18.50 GiB"))
        assert state is TrialState.INFEASIBLE
        assert reason.startswith("training: out of memory in its share of the device (19.0 GiB of 79.1 GiB): CUDA out")


def test_the_whole_device_used_up_is_the_trials_own_lack_and_teaches():
    """What contexts take beside the allocator is nobody else's, though they differ by some 100 MiB."""
    state, reason = end_by(torch_says(asked="1.00 GiB", free="0.60 GiB", allowed="79.11 GiB", allocated="77.60 GiB"))
    assert state is TrialState.INFEASIBLE and reason.startswith("training: out of memory: CUDA out of memory. Tried")


@pytest.mark.parametrize("allowed", ["79.11 GiB", "19.00 GiB", None])
def test_what_strangers_have_taken_is_told_and_teaches_nothing(allowed):
    """The trial would have fitted into its share, or into the whole device: it fails, and the search learns nothing."""
    state, reason = end_by(torch_says(asked="2.00 GiB", free="0.50 GiB", allowed=allowed, allocated="10.00 GiB"))
    assert state is TrialState.FAILED
    assert reason.startswith("training: the device is full of what others hold: of the ")
    taken = "8.5" if allowed == "19.00 GiB" else "68.0"
    assert f"{taken} GiB were neither its own nor free; end what else uses the device" in reason


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_neighbours_within_their_shares_are_no_strangers(slots):
    """All full, each with its context, the trial asking for a MiB more: its own lack. One stranger makes the other."""
    total = 80_000.0
    cap = total / slots - CONTEXT_MIB
    held = cap - 100
    full = Lack(total_mib=total, free_mib=100, held_mib=held, cap_mib=cap)
    assert not full.is_others_doing
    assert not Lack(total_mib=total, free_mib=0, held_mib=held, cap_mib=cap, asked_mib=150).is_others_doing
    assert Lack(total_mib=total, free_mib=0, held_mib=cap - 2 * CONTEXT_MIB, cap_mib=cap, asked_mib=5).is_others_doing
