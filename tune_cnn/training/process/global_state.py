"""Everything global that one trial could leave behind for the next one in a warm process, set anew.

Fixed for a process and so not set here: inter-op threads (PyTorch lets them be set once) and the share of the device's
memory (`torch.cuda.set_per_process_memory_fraction`, set by whoever knows the share).
"""

import gc
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from tune_cnn.untyped import Untyped

# Read by cuBLAS when it first works in a process (it repeats bits only with a fixed workspace) and by inductor when
# imported, so set them before the first trial that is deterministic has worked on the device.
_DETERMINISTIC_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_DETERMINISTIC": "1"}
_ENVIRONMENT_BEFORE = {name: os.environ.get(name) for name in _DETERMINISTIC_ENVIRONMENT}  # the user's, to go back to
_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def reset_global_state(*, seed: int, precision: str, deterministic: bool, threads: int) -> None:
    """Make this process compute as a fresh one would with these settings. Call it in the thread that trains.

    precision: fp32, bf16 and fp16 keep IEEE arithmetic where an operation runs in float32; tf32 lets matrix products
    and convolutions round their inputs to TF32. Autocast itself is the training loop's.
    deterministic: also what lets cuDNN choose its algorithm by timing it (only where this is False).
    threads: compute threads of one operation on the CPU.
    Drops compiled code and cached device memory, so what the former trial made must no longer be used.
    """
    assert precision in _PRECISIONS, precision
    _reset_autograd()
    _reset_autocast()
    _reset_float32(tf32=precision == "tf32")
    _reset_algorithms(deterministic)
    torch.set_num_threads(threads)
    if "torch._dynamo" in sys.modules:  # importing it for nothing would cost seconds
        sys.modules["torch._dynamo"].reset()
    _reset_allocator()
    _seed(seed)  # last: nothing above may draw from it


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within it float32 is float32 on every device, as on a CPU: no TF32."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    _reset_float32(tf32=False)
    try:
        yield
    finally:
        _reset_float32(tf32=tf32)


def _reset_autograd() -> None:
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_flush_denormal(False)


def _reset_autocast() -> None:
    for device_type, dtype in (("cpu", torch.bfloat16), ("cuda", torch.float16)):
        torch.set_autocast_enabled(device_type, False)
        torch.set_autocast_dtype(device_type, dtype)
    torch.set_autocast_cache_enabled(True)
    # Casts of the weights are dropped when the outermost autocast ends. One that never ended (an exception inside a
    # generator) would keep the level above zero, and every later trial would train on stale casts.
    level = torch.autocast_increment_nesting()
    for _ in range(level):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


def _reset_float32(*, tf32: bool) -> None:
    """TF32 by the older switches alone, which keep the newer ones (`fp32_precision`) in step with themselves.

    The reverse does not hold: after `torch.backends.cuda.matmul.fp32_precision = …` reading `allow_tf32` or
    `get_float32_matmul_precision()` raises, and torch.compile reads them. So what a trial set by the newer ones is
    first taken back ("none": as the level above says), then the older ones write both.
    """
    backends: Untyped = torch.backends  # its modules gain these attributes at run time, unseen by mypy
    for part in (backends, backends.cudnn, backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn):
        part.fp32_precision = "none"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    backends.cudnn.allow_tf32 = tf32


def _reset_algorithms(deterministic: bool) -> None:
    _use_deterministic_algorithms(deterministic)
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    cudnn.enabled = True
    cudnn.deterministic = deterministic
    cudnn.benchmark = not deterministic  # shapes are fixed while training, so the search pays within an epoch
    torch.backends.mkldnn.set_flags(_enabled=True, _deterministic=deterministic)
    cuda.matmul.allow_fp16_reduced_precision_reduction = True
    cuda.matmul.allow_bf16_reduced_precision_reduction = True
    cuda.matmul.allow_fp16_accumulation = False
    for enable in (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_math_sdp, cuda.enable_cudnn_sdp):
        enable(True)


def _use_deterministic_algorithms(deterministic: bool) -> None:
    """`torch.use_deterministic_algorithms` without its import of torch._inductor (6 s on two cores)."""
    for name, value in _DETERMINISTIC_ENVIRONMENT.items():
        before = _ENVIRONMENT_BEFORE[name]
        if deterministic and before is None:
            os.environ[name] = value
        elif before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    inductor_config: Untyped = sys.modules.get("torch._inductor.config")
    if hasattr(inductor_config, "deterministic"):  # else its environment variable, read at its import, will do
        inductor_config.deterministic = deterministic or os.environ.get("TORCHINDUCTOR_DETERMINISTIC") == "1"
    fill: Untyped = torch.utils.deterministic  # the attribute exists at run time alone
    fill.fill_uninitialized_memory = True


def _reset_allocator() -> None:
    gc.collect()  # a model in a reference cycle would keep its memory
    if not torch.cuda.is_initialized():
        return
    # Only devices in use: touching another one would give it a context of some hundred MiB.
    used = [device for device in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(device)]
    current = torch.cuda.current_device()
    for device in used:
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(torch.cuda.default_stream(device))  # also makes the device the current one
    torch.cuda.set_device(current)
    torch.cuda.empty_cache()
    for device in used:
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.reset_accumulated_memory_stats(device)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # NumPy takes 32 bits
    torch.manual_seed(seed)  # the CPU and every CUDA device, initialised or not
