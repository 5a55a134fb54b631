"""What a node is like, whatever it is to train: versions, cards, network, shared memory, disks, open files.

Facts only, as a node finds them in seconds; `health_checks` holds them against what must be.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tune_cnn.errors import Unreachable, first_line
from tune_cnn.training.inspection.device import DEVICE_FILE
from tune_cnn.training.meters.cards import Card, cards, driver
from tune_cnn.training.process.reachability import gloo_address, interfaces

MIB = 2**20
PACKAGES = ("tune-cnn", "ray", "torch", "torchvision")  # what must be the same on all nodes, with Python itself
SHARED_MEMORY = Path("/dev/shm")  # no folder of ours: where Linux keeps it
TRY_GPU_S = 60.0  # importing torch and making a context take some 10 s; one that hangs has gone for good
_ONE_GPU = "tune_cnn.training.inspection.one_gpu"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A folder that work is done in."""

    what: str  # for the user: home, cache, temporary files
    folder: str
    total_mib: float = 0.0
    free_mib: float = 0.0
    error: str | None = None  # why nothing can be written there


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A card of the node, tried by a process of its own."""

    name: str
    uuid: str
    error: str | None = None  # why nothing can be trained on it
    nccl: str | None = None  # its version in this torch


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What one node found about itself."""

    host: str
    versions: Mapping[str, str]
    has_gpu_file: bool = False  # the kernel's module shows a device
    driver: str | None = None  # NVIDIA's; None: it doesn't answer
    cuda: str | None = None  # the newest that the driver runs
    gpus: tuple[Gpu, ...] = ()
    gloo_address: str = "127.0.0.1"  # that gloo takes there
    gloo_source: str = ""  # in words, where from; or why there is none
    nccl_interface: str | None = None  # NCCL_SOCKET_IFNAME
    interfaces: Mapping[str, str] = field(default_factory=dict)  # the first address of each
    shared_free_mib: float | None = None  # of /dev/shm; None where there is none
    disks: tuple[Disk, ...] = ()
    open_files: int = 0  # that a process may have


def find_facts(folders: Mapping[str, str]) -> NodeFacts:
    """Ask this node. `folders`: by what they are for; `~` is the user's home here."""
    found, has = cards(), driver()
    free = shutil.disk_usage(SHARED_MEMORY).free / MIB if SHARED_MEMORY.is_dir() else None
    disks = {**folders, "temporary files": tempfile.gettempdir()}
    address, source = _of_gloo()
    return NodeFacts(
        host=platform.node(),
        versions=installed(),
        has_gpu_file=DEVICE_FILE.exists(),
        driver=has.version,
        cuda=has.cuda,
        gpus=tuple(tried(one) for card in found for one in (card.slices if card.is_cut else (card,))),
        gloo_address=address,
        gloo_source=source,
        nccl_interface=os.environ.get("NCCL_SOCKET_IFNAME"),
        interfaces=interfaces(),
        shared_free_mib=free,
        disks=tuple(_disk(what, folder) for what, folder in disks.items()),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def installed() -> dict[str, str]:
    """Versions here, by what is installed: nothing is imported."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def tried(card: Card) -> Gpu:
    """A small network trained on the card, in a process that can be given up: a sick driver keeps its caller."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": card.uuid,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", _ONE_GPU],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TRY_GPU_S,
            check=False,
        )
        said = json.loads(ended.stdout.strip().splitlines()[-1])
        return Gpu(name=card.name, uuid=card.uuid, error=said["error"], nccl=said["nccl"])
    except subprocess.TimeoutExpired:
        error = f"no answer in {TRY_GPU_S:.0f} s; look at what nvidia-smi and dmesg say, and restart the node"
    except (OSError, ValueError, KeyError, IndexError) as failed:
        error = f"the process that tried it has died ({first_line(failed)}); look at what nvidia-smi says"
    return Gpu(name=card.name, uuid=card.uuid, error=error)


def _of_gloo() -> tuple[str, str]:
    """The address that gloo takes, and where from; none, and why, where it is told of an interface that isn't there."""
    try:
        return gloo_address()
    except Unreachable as error:
        return "none", first_line(error)


def _disk(what: str, folder: str) -> Disk:
    """Written to where it is, or where it would be made: what only looks leaves no folder behind."""
    path = Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111  (Path's raises where there is no home)
    there = next(place for place in (path, *path.parents) if place.exists())
    error = None
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as failed:
        error = failed.strerror or str(failed)
    usage = shutil.disk_usage(there)
    return Disk(
        what=what,
        folder=str(path),
        total_mib=usage.total / MIB,
        free_mib=usage.free / MIB,
        error=error,
    )
