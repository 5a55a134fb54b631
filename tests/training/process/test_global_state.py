"""A trial in a warm process computes what it would compute in a fresh one."""

import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from tune_cnn.training.process.global_state import exact_float32, reset_global_state

SETTINGS: dict[str, Any] = {"seed": 7, "precision": "fp32", "deterministic": False, "threads": 1}


def state_and_bits() -> dict[str, Any]:
    """Every switch that `reset_global_state` answers for, what the generators give, and bits of a small training."""
    backends: Any = torch.backends
    fill: Any = torch.utils.deterministic
    switches = {
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "denormal": (torch.tensor([1e-39]) * 1.0).item() != 0,
        "threads": torch.get_num_threads(),
        "autocast": [torch.is_autocast_enabled(d) for d in ("cpu", "cuda")],
        "autocast dtype": [str(torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "autocast level": torch.autocast_increment_nesting() - torch.autocast_decrement_nesting(),
        "autocast depth": _autocast_depth(),
        "matmul": torch.get_float32_matmul_precision(),
        "matmul tf32": backends.cuda.matmul.allow_tf32,
        "cudnn tf32": backends.cudnn.allow_tf32,
        "fp32": [p.fp32_precision for p in (backends, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn)],
        "mkldnn fp32": [getattr(backends.mkldnn, op).fp32_precision for op in ("matmul", "conv", "rnn")],
        "cudnn": [backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic],
        "mkldnn": [backends.mkldnn.enabled, backends.mkldnn.deterministic],
        "reductions": [
            backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
            backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
            backends.cuda.matmul.allow_fp16_accumulation,
        ],
        "attention": [backends.cuda.flash_sdp_enabled(), backends.cuda.math_sdp_enabled()],
        "deterministic": [torch.get_deterministic_debug_mode(), fill.fill_uninitialized_memory],
        "environment": [os.environ.get(n) for n in ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_DETERMINISTIC")],
    }
    draws = [random.random(), float(np.random.rand()), torch.rand(2).tolist()]
    return {"switches": switches, "draws": draws, "bits": _trained_bits()}


def _autocast_depth() -> int:
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth


def _trained_bits() -> str:
    """A digest of weights after three steps in bf16 autocast and three without."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(6):
        with torch.autocast("cpu", enabled=step < 3, dtype=torch.bfloat16):
            loss = model(torch.rand(8, 1, 8, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = torch.cat([p.detach().float().flatten() for p in model.parameters()])
    return hashlib.sha256(weights.numpy().tobytes()).hexdigest()


def dirty() -> None:
    """What a careless trial could leave behind."""
    backends: Any = torch.backends
    fill: Any = torch.utils.deterministic
    torch.autograd.set_detect_anomaly(True)
    torch.set_flush_denormal(True)
    torch.set_num_threads(2)
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, torch.float16 if device == "cpu" else torch.bfloat16)
    torch.autocast_increment_nesting()
    torch.autocast_increment_nesting()
    torch.set_autocast_cache_enabled(False)
    torch.set_float32_matmul_precision("medium")
    for part in (backends, backends.cudnn, backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv):
        part.fp32_precision = "tf32"
    backends.mkldnn.matmul.fp32_precision = "bf16"
    backends.cudnn.enabled = False
    backends.cudnn.benchmark = False
    backends.cudnn.deterministic = True
    backends.mkldnn.set_flags(_enabled=False, _deterministic=True)
    backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    backends.cuda.matmul.allow_fp16_accumulation = True
    backends.cuda.enable_flash_sdp(False)
    backends.cuda.enable_math_sdp(False)
    torch.set_deterministic_debug_mode("error")
    fill.fill_uninitialized_memory = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


@pytest.fixture(autouse=True)
def _leave_nothing_behind():
    threads = torch.get_num_threads()
    yield
    reset_global_state(seed=0, precision="fp32", deterministic=False, threads=threads)


def fresh_process(settings: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, json.dumps(settings)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    return fresh_process(SETTINGS)


def test_after_a_dirty_trial_the_next_computes_as_in_a_fresh_process(fresh):
    """Whatever a trial left behind, switches, random draws and trained bits are a fresh process's."""
    dirty()
    reset_global_state(**SETTINGS)
    assert state_and_bits() == fresh


def test_other_precisions_between_leave_the_bits_of_fp32_as_they_were(fresh):
    """fp32 → tf32, bf16, fp16 → fp32 in one process gives the fresh process's bits again."""
    for precision in ("tf32", "bf16", "fp16"):
        reset_global_state(seed=1, precision=precision, deterministic=True, threads=2)
        state_and_bits()
    reset_global_state(**SETTINGS)
    assert state_and_bits() == fresh


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_tf32_is_on_for_tf32_alone_by_both_generations_of_switches(precision):
    """Old and new switches agree (reading the old ones raises otherwise), and only tf32 turns it on."""
    dirty()
    reset_global_state(seed=0, precision=precision, deterministic=False, threads=1)
    wanted = precision == "tf32"
    backends: Any = torch.backends
    assert (torch.get_float32_matmul_precision() == "high") == wanted
    assert (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32) == (wanted, wanted)
    new = [p.fp32_precision == "tf32" for p in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)]
    assert new == [wanted] * 3


def test_exact_float32_is_without_tf32_and_gives_it_back():
    """By both generations of switches, and after an error too."""
    reset_global_state(seed=0, precision="tf32", deterministic=False, threads=1)
    with pytest.raises(OSError), exact_float32():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
        raise OSError
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32


def test_deterministic_makes_nondeterministic_operations_raise_and_fixes_algorithms():
    """deterministic=True reaches PyTorch, cuDNN, oneDNN, cuBLAS and the compiler; False takes it back from all."""
    reset_global_state(seed=0, precision="fp32", deterministic=True, threads=1)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert torch.backends.mkldnn.deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["TORCHINDUCTOR_DETERMINISTIC"] == "1"
    reset_global_state(seed=0, precision="fp32", deterministic=False, threads=1)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_the_compiler_is_not_imported_for_nothing():
    """A reset in a process that never compiled doesn't import torch._dynamo, which costs seconds."""
    code = (
        "import sys; from tune_cnn.training.process.global_state import reset_global_state as r;"
        "r(seed=0, precision='fp32', deterministic=True, threads=1);"
        "print([m for m in ('torch._dynamo', 'torch._inductor') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_casts_of_weights_that_an_unfinished_autocast_kept_are_gone():
    """Weights changed since then are cast anew, not taken from the former trial's cache."""
    weight, ones = torch.ones(1, 4, requires_grad=True), torch.ones(1, 4)
    torch.set_autocast_enabled("cpu", True)
    torch.autocast_increment_nesting()
    torch.nn.functional.linear(ones, weight)  # its cast is now in the cache
    weight.data.fill_(2.0)
    reset_global_state(**SETTINGS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.linear(ones, weight).item() == 8.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_is_empty_and_its_random_draws_repeat():
    """A former trial's cached memory and peak are gone, and the device's generator starts from the seed."""
    reset_global_state(seed=3, precision="fp32", deterministic=False, threads=1)
    draws = torch.rand(4, device="cuda").tolist()
    torch.empty(2**28, device="cuda", dtype=torch.uint8)
    reset_global_state(seed=3, precision="fp32", deterministic=False, threads=1)
    assert torch.cuda.max_memory_reserved() < 2**28
    assert torch.rand(4, device="cuda").tolist() == draws


if __name__ == "__main__":
    reset_global_state(**json.loads(sys.argv[1]))
    print(json.dumps(state_and_bits()))
