"""The GPU that trials will train on: whether it works with this torch and driver, and what it can't give.

It is touched here, once, so that what is wrong with it is said before the first trial and not by every trial.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tune_cnn.errors import ResourceError, first_line
from tune_cnn.training.inspection.compiler import why_no_compiling
from tune_cnn.training.messages import DeviceFound
from tune_cnn.training.meters.cards import Card, Driver, cards, driver
from tune_cnn.training.meters.nvml import lacking
from tune_cnn.training.process.mps import mps_runs
from tune_cnn.untyped import Plain

MIB = 2**20
# Of what a context takes once one small network has run: other layers, precisions and optimizers load code of theirs.
CONTEXT_GROWTH = 1.25
FOREIGN_MIB = 64.0  # a driver that stays loaded counts a few itself
DEVICE_FILE = Path("/dev/nvidia0")  # no folder of ours: where NVIDIA's kernel module shows its first device


def inspect_device(*, cuda: bool, compiles: bool) -> DeviceFound:
    """What there is to say of the device of this process; ResourceError where nothing can be trained on it.

    `compiles`: whether torch.compile is wanted.
    """
    if not cuda:
        return DeviceFound(
            without_compile=why_no_compiling(capability=None) if compiles else None,
            notes=unused_gpu(has_file=DEVICE_FILE.exists(), answers=driver().version is not None),
        )
    fresh = not torch.cuda.is_initialized()  # else this process's own context is counted among what was there before
    before, has = cards(), driver()
    device = _opened(has)
    properties = torch.cuda.get_device_properties(device)
    capability = (properties.major, properties.minor)
    card = _own(before, str(properties.uuid))
    check_architecture(properties.name, capability, torch.cuda.get_arch_list() if torch.version.cuda else [])
    _touch_gpu(device, properties.name, has)
    return DeviceFound(
        name=properties.name,
        total_mib=properties.total_memory / MIB,
        context_mib=_context_mib(card) if card is not None and fresh else None,
        others=others_words(card) if card is not None and fresh else None,
        compute_mode=card.compute_mode if card is not None else "default",
        has_mps=mps_runs(),
        unmeasured=lacking(card.uuid if card is not None else str(properties.uuid)),
        without_compile=why_no_compiling(capability=capability) if compiles else None,
        hardware=_hardware(properties, card, has),
    )


def touch(device: torch.device) -> Tensor:
    """One step of a small network, forward and backward: what a convolution's gradients come to."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10)
    )
    images_nchw = torch.zeros(4, 3, 8, 8, device=device)
    labels_n = torch.zeros(4, dtype=torch.int64, device=device)
    nn.functional.cross_entropy(net.to(device)(images_nchw), labels_n).backward()
    gradient = net[0].weight.grad
    assert isinstance(gradient, Tensor)
    return gradient.cpu()  # waits for the device, whose errors come late


def unused_gpu(*, has_file: bool, answers: bool) -> tuple[str, ...]:
    """A note where trials train on the CPU beside a GPU that its driver doesn't serve."""
    if not has_file or answers:
        return ()
    return (
        f"trials run on the CPU, though this node has a GPU ({DEVICE_FILE}): NVIDIA's driver does not answer; look "
        "at what nvidia-smi says",
    )


def check_architecture(name: str, capability: tuple[int, int], built_for: Sequence[str]) -> None:
    """ResourceError where torch has no code for this device: each of its kernels would fail.

    `built_for`: as torch.cuda.get_arch_list gives it; empty: not known.
    """
    if built_for and not any(_runs(architecture, capability) for architecture in built_for):
        major, minor = capability
        raise ResourceError(
            f"resources: torch {torch.__version__} has no code for {name} (compute capability {major}.{minor}), only "
            f"for {', '.join(built_for)}; install a build of torch that has it (https://pytorch.org/get-started), or "
            "set gpus_per_rank: 0"
        )


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether such code runs there: machine code (sm_86) from its version on within its generation, intermediate code
    (compute_90) on all later ones, and what ends in a letter (sm_90a) where it was made for, f in its family."""
    kind, _, version = architecture.partition("_")
    digits = version.rstrip("abcdefghijklmnopqrstuvwxyz")
    if not digits.isdigit():
        return True  # a name that is not known here refuses nothing
    made_for = divmod(int(digits), 10)
    if version.endswith("a"):
        return made_for == capability
    if kind == "compute" and not version.endswith("f"):
        return capability >= made_for
    return capability[0] == made_for[0] and capability >= made_for


def _opened(has: Driver) -> torch.device:
    """This process's GPU, its context made."""
    if torch.version.cuda is None and torch.version.hip is None:
        raise ResourceError(why_no_device("", has))
    try:
        torch.cuda.init()
        return torch.device("cuda", torch.cuda.current_device())
    except (RuntimeError, AssertionError) as error:  # torch's kinds of error here, by what failed
        raise ResourceError(why_no_device(str(error), has)) from error


def _touch_gpu(device: torch.device, name: str, has: Driver) -> None:
    try:
        with torch.random.fork_rng(devices=[device]):
            touch(device)
        torch.cuda.empty_cache()
    except RuntimeError as error:
        raise ResourceError(why_no_device(str(error), has, name)) from error


def why_no_device(said: str, has: Driver, name: str = "the GPU") -> str:
    """The one line on a GPU that can't be used, from what torch said of it (nothing: it was built without CUDA)."""
    built = f"torch {torch.__version__}" + (f" for CUDA {torch.version.cuda}" if torch.version.cuda else "")
    here = f"NVIDIA's driver {has.version}" if has.version else "no driver of NVIDIA's that answers"
    there = f"{here}{f' (CUDA {has.cuda} at most)' if has.cuda else ''}"
    if not said or "not compiled with CUDA" in said:
        why = f"{built} is a build for CPUs"
        advice = "install one for CUDA (https://pytorch.org/get-started)"
    elif any(words in said for words in ("too old", "insufficient", "forward compatibility", "PTX was compiled")):
        why, advice = (
            f"{built} needs a newer driver, and there is {there}",
            "update the driver, or install an older build",
        )
    elif "busy or unavailable" in said:
        why = "another process has it for itself (exclusive compute mode), or it can't be used"
        advice = "end that process, or set its mode to default (nvidia-smi -c 0)"
    elif "no kernel image" in said or "invalid device function" in said:
        why, advice = (
            f"{built} has no code for it",
            "install a build of torch that has (https://pytorch.org/get-started)",
        )
    elif "out of memory" in said:
        why, advice = "others hold all of its memory", "end them (nvidia-smi lists them), or choose another GPU"
    elif "No CUDA GPUs" in said or "no CUDA-capable device" in said or "no NVIDIA driver" in said:
        why, advice = f"CUDA finds none, with {there}", "look at what nvidia-smi says, and at CUDA_VISIBLE_DEVICES"
    else:
        why, advice = f"{first_line(RuntimeError(said))} ({built}, {there})", "look at what nvidia-smi says"
    return f"resources: {name} of this node can't be trained on: {why}; {advice}, or set gpus_per_rank: 0"


def _own(found: Sequence[Card], uuid: str) -> Card | None:
    """The card, or the slice of one, that this process trains on."""
    every = [one for card in found for one in (card, *card.slices)]
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    named = first if first.startswith("MIG-") else f"GPU-{uuid.removeprefix('GPU-')}"
    return next((card for card in every if card.uuid == named), None)


def _context_mib(before: Card) -> float | None:
    torch.cuda.synchronize()
    after = _own(cards(), before.uuid)
    allocated_mib = torch.cuda.memory_reserved() / MIB
    return context_of(before, after, allocated_mib=allocated_mib, pid=os.getpid()) if after is not None else None


def context_of(before: Card, after: Card, *, allocated_mib: float, pid: int) -> float | None:
    """What a process's context takes of the card, from the card before and after it was made; None: not to be told.

    By process where NVML lists this one (not in a container with process numbers of its own), else by what is used
    more than before: nobody else of ours is on the card by then.
    """
    known = pid not in before.processes_mib  # a container's numbers are its own: another's may be ours
    whole_mib = after.processes_mib.get(pid) if known else None
    if whole_mib is None and before.used_mib is not None and after.used_mib is not None:
        whole_mib = after.used_mib - before.used_mib
    taken_mib = (whole_mib or 0.0) - allocated_mib
    return taken_mib * CONTEXT_GROWTH if taken_mib > 0 else None


def others_words(card: Card) -> str | None:
    """Who else is on a card that none of ours is on yet; None: nobody."""
    words = ["a display"] if card.shows_display else []
    if card.processes_mib:
        numbers = ", ".join(map(str, sorted(card.processes_mib)))
        words.append(f"process{'es' * (len(card.processes_mib) > 1)} {numbers}")
    held = f"{card.used_mib:,.0f} MiB" if card.used_mib is not None else "some memory"
    if not words and (card.used_mib is None or card.used_mib < FOREIGN_MIB):
        return None
    return f"{held} of it {'are' if card.used_mib is not None else 'is'} held by {' and '.join(words) or 'others'}"


def _hardware(properties: "torch._C._CudaDeviceProperties", card: Card | None, has: Driver) -> dict[str, Plain]:
    found: dict[str, Plain] = {
        "gpu": properties.name,
        "gpu_memory_mib": properties.total_memory // MIB,
        "compute_capability": f"{properties.major}.{properties.minor}",
    }
    if has.version is not None:
        found["gpu_driver"] = has.version
    if card is not None and card.power_limit_w is not None:
        found["gpu_power_limit_w"] = round(card.power_limit_w)
    return found
