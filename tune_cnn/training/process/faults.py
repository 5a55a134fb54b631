"""How a trial can end before its time, and whose fault it is."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from tune_cnn.errors import DeviceLost, InputError, MemoryTaken, OutOfMemory, PeerLost, TrialError, first_line
from tune_cnn.text import printable
from tune_cnn.training.process.lack_of_memory import is_out_of_memory, lack_behind, others_hold, own_lack

# The device has no code of torch's, or the driver can't make it: a fresh process would fail in the same way.
# What the runtime, the driver and Triton write where a kernel has ended the context.
BROKEN = (
    "CUDA error",
    "CUDA driver error",
    "illegal memory access",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "illegal instruction",
)
NO_CODE = (
    "no kernel image is available",
    "invalid device function",
    "PTX was compiled",
    "driver version is insufficient",
)

# What a collective says whose peer is gone or has not come: gloo raises plain RuntimeErrors. The first mostly names its
# source file; the next ones on the same connection, and some of DDP's, don't.
NO_PEER = (
    "gloo/",
    "Application timeout caused pair closure",
    "Connection closed by peer",
    "Connection reset by peer",
    "connection reset by peer",
    "for recv operation to complete",
    "for send operation to complete",
    "NCCL error",
    "NCCL communicator was aborted",
)

LONGEST = 500  # characters of what an error says
NO_SHARED_MEMORY = (
    "a loader process found no room for its batch in shared memory (/dev/shm); give the container more (docker run "
    "--shm-size=…), or search smaller batches or fewer loader_workers"
)


@contextmanager
def trial_faults(doing: str) -> Iterator[None]:
    """Within it, what the trial itself did wrong comes out as TrialError.

    A lost peer comes out as PeerLost, a broken CUDA context as DeviceLost.
    """
    try:
        yield
    except (TrialError, PeerLost, DeviceLost) as error:
        _forget_frames(error)
        raise
    except InputError as error:
        _forget_frames(error)
        raise TrialError(f"{doing}: {error}") from error
    except Exception as error:
        where = _where(error)
        _forget_frames(error)
        _raise_lack_of_memory(doing, error)
        if is_peer_lost(error):
            raise PeerLost(f"{doing}: {first_line(error)}") from error
        if breaks_context(error):
            raise DeviceLost(f"{doing}: {first_line(error)}") from error
        if is_shared_memory_full(error):
            raise TrialError(f"{doing}: {NO_SHARED_MEMORY}") from error
        raise TrialError(f"{doing} raised {type(error).__name__}: {_said(error)}{where}") from error


def _forget_frames(error: BaseException) -> None:
    """A warm process lives on, and what an error's frames hold (model, batches, activations) would live on with it."""
    traceback.clear_frames(error.__traceback__)


def _raise_lack_of_memory(doing: str, error: Exception) -> None:
    """MemoryTaken where others hold what the error lacked, OutOfMemory where the trial itself needs too much."""
    lack = lack_behind(error)
    if not is_out_of_memory(error, lack):
        return
    if lack is not None and lack.is_others_doing:
        raise MemoryTaken(f"{doing}: {others_hold(lack)}") from error
    raise OutOfMemory(f"{doing}: {own_lack(error, lack)}") from error


def is_shared_memory_full(error: BaseException) -> bool:
    """Whether a loader process found no room for its batch."""
    said = str(error)
    return isinstance(error, RuntimeError) and ("shared memory" in said or "/torch_" in said) and "No space" in said


def is_peer_lost(error: BaseException) -> bool:
    """Whether a collective failed: by NCCL's type of error, or by what gloo says."""
    said = str(error)
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and any(t in said for t in NO_PEER))


def breaks_context(error: BaseException) -> bool:
    """Whether CUDA failed in a way after which nothing in this process can use the device, and another process may."""
    said = str(error)
    if any(text in said for text in NO_CODE):
        return False
    broken = any(text in said for text in BROKEN)
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and broken)


def _said(error: BaseException) -> str:
    """What it says in a line; of what a loader process raised, the last one, which its traceback ends with."""
    lines = str(error).strip().splitlines()
    said = lines[-1].strip() if lines and lines[0].startswith("Caught ") else first_line(error)
    return printable(said if len(said) <= LONGEST else f"{said[:LONGEST]}…")


def _where(error: BaseException) -> str:
    """Where it was raised: the innermost line outside torch, which is the user's or ours."""
    inside_torch = str(Path(torch.__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(inside_torch)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
