"""The device is tried before the first trial: each way in which it can be of no use has one clear line."""

import re
from pathlib import Path

import pytest
import torch

from tune_cnn.errors import ResourceError
from tune_cnn.training.inspection.compiler import why_not
from tune_cnn.training.inspection.device import (
    check_architecture,
    context_of,
    inspect_device,
    others_words,
    touch,
    unused_gpu,
    why_no_device,
)
from tune_cnn.training.meters.cards import Card, Driver

OLD = Driver(version="470.82", cuda="11.4")
HERE = Path(__file__)


def test_the_device_is_touched_forward_and_backward():
    """Finite gradients came back, from a CPU here."""
    gradient = touch(torch.device("cpu"))
    assert gradient.shape == (8, 3, 3, 3) and bool(gradient.isfinite().all())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that works")
def test_a_gpu_that_is_asked_for_and_not_there_is_refused_before_anything_else():
    """What torch says of this very machine, in our words."""
    with pytest.raises(ResourceError, match=r"resources: the GPU of this node can't be trained on: .*gpus_per_rank: 0"):
        inspect_device(cuda=True, compiles=False)


def test_a_cpu_has_nothing_to_say():
    found = inspect_device(cuda=False, compiles=False)
    assert (found.name, found.unmeasured, found.without_compile, found.hardware) == ("the CPU", {}, None, {})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "is a build for CPUs; install one for CUDA"),
        ("Torch not compiled with CUDA enabled", "is a build for CPUs; install one for CUDA"),
        ("The NVIDIA driver on your system is too old (found version 11040).", r"470.82 \(CUDA 11.4 at most\); update"),
        ("Error 804: forward compatibility was attempted on non supported HW", "needs a newer driver, and there is"),
        ("CUDA error: the provided PTX was compiled with an unsupported toolchain.", "needs a newer driver, and there"),
        ("CUDA driver version is insufficient for CUDA runtime version", "needs a newer driver, and there is NVIDIA's"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "exclusive compute mode.*nvidia-smi -c 0"),
        ("CUDA error: no kernel image is available for execution on the device", "has no code for it; install a build"),
        ("CUDA out of memory. Tried to allocate 2.00 MiB", "others hold all of its memory; end them"),
        ("Found no NVIDIA driver on your system. Please check", "CUDA finds none, with NVIDIA's driver 470.82"),
        ("No CUDA GPUs are available", "CUDA finds none.* and at CUDA_VISIBLE_DEVICES"),
        ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED\nmore", r"CUDNN_STATUS_NOT_INITIALIZED \(torch .*look at what"),
    ],
)
def test_a_device_that_fails_is_told_in_one_line(said, told):
    """Where, what came, what to do."""
    line = why_no_device(said, OLD, "NVIDIA T4")
    assert line.startswith("resources: NVIDIA T4 of this node can't be trained on: ")
    assert line.endswith("or set gpus_per_rank: 0") and "\n" not in line
    assert re.search(told, line)


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((8, 9), ["sm_75", "sm_80", "sm_86"], True),
        ((9, 0), ["sm_90a"], True),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((12, 1), ["sm_120f"], True),
        ((9, 0), [], True),
        ((9, 0), ["gfx942"], True),
        ((6, 1), ["sm_75", "sm_80", "compute_80"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((8, 0), ["sm_86"], False),
        ((10, 3), ["sm_100a"], False),
        ((11, 0), ["sm_100f"], False),
    ],
)
def test_a_card_that_torch_has_no_code_for_is_refused(capability, built_for, runs):
    """Older than all that it was built for, or newer without intermediate code."""
    if runs:
        check_architecture("NVIDIA X", capability, built_for)
        return
    with pytest.raises(ResourceError, match=rf"no code for NVIDIA X \(compute capability {capability[0]}\."):
        check_architecture("NVIDIA X", capability, built_for)


def card(used_mib: float | None, **processes_mib: float | None) -> Card:
    return Card(
        uuid="GPU-a", name="X", used_mib=used_mib, processes_mib={int(k[1:]): v for k, v in processes_mib.items()}
    )


@pytest.mark.parametrize(
    ("before", "after", "context_mib"),
    [
        (card(900.0), card(5000.0, p7=520.0, p8=3000.0), 500.0),
        (card(900.0), card(1420.0), 500.0),
        (card(900.0), card(1420.0, p7=None), 500.0),
        (card(900.0, p7=90.0), card(1420.0, p7=90.0), 500.0),
        (card(None), card(None), None),
        (card(900.0), card(100.0), None),
    ],
    ids=[
        "by process",
        "in a container",
        "a driver that hides it",
        "a stranger of our number",
        "nothing told",
        "others left meanwhile",
    ],
)
def test_a_context_is_measured_where_it_can_be(before, after, context_mib):
    """What came onto the card with this process, without its 20 MiB of tensors, and a quarter for code that comes."""
    found = context_of(before, after, allocated_mib=20.0, pid=7)
    assert found == (None if context_mib is None else pytest.approx(context_mib * 1.25))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Card(uuid="", name="X", used_mib=4.0), None),
        (Card(uuid="", name="X"), None),
        (Card(uuid="", name="X", used_mib=2048.0), "2,048 MiB of it are held by others"),
        (Card(uuid="", name="X", used_mib=80.0, shows_display=True), "80 MiB of it are held by a display"),
        (Card(uuid="", name="X", used_mib=1e4, processes_mib={9: 1.0, 8: None}), "10,000 MiB .* by processes 8, 9"),
        (Card(uuid="", name="X", processes_mib={9: 1.0}), "some memory of it is held by process 9"),
    ],
)
def test_who_else_is_on_the_card_is_told(found, words):
    """A display, other processes, or memory alone, where a container hides whose it is."""
    told = others_words(found)
    assert told is None if words is None else re.search(words, str(told))


@pytest.mark.parametrize(("has_file", "answers", "notes"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_gpu_that_its_driver_does_not_serve_is_noticed_from_the_cpu(has_file, answers, notes):
    """A search that would take hundred times as long must not start without a word."""
    assert len(unused_gpu(has_file=has_file, answers=answers)) == notes


def compiling(
    capability: tuple[int, int] | None, *there: str, headers: Path = HERE, triton: bool = True, **environment: str
) -> str | None:
    return why_not(
        environment, capability=capability, headers=headers, has_triton=triton,
        which=lambda name: f"/usr/bin/{name}" if name in there else None,
    )  # fmt: skip


def test_compiling_needs_a_compiler_headers_and_a_card_that_triton_knows():
    """On a GPU in C, on a CPU in C++."""
    assert compiling((8, 0), "gcc") is compiling((8, 0), "clang") is compiling(None, "g++") is None
    assert compiling((8, 0), "cc9", CC="cc9 -m64") is None
    for found, told in (
        (compiling((8, 0), "g++"), "a C compiler, and neither CC is set nor gcc or clang there; install one"),
        (compiling(None, "gcc"), r"a C\+\+ compiler, and neither CXX is set nor g\+\+ there"),
        (compiling((8, 0), "gcc", CC="/opt/cc"), "CC=/opt/cc is not there"),
        (compiling((8, 0), "gcc", headers=Path("/no/Python.h")), "Python's headers, and /no/Python.h is not there"),
        (compiling((6, 1), "gcc"), "7.0 or newer, and this one has 6.1"),
        (compiling((8, 0), "gcc", triton=False), "the package triton is missing"),
    ):
        assert re.search(told, str(found))
