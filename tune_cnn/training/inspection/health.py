"""What a node is like, whatever it is to train: versions, cards, network, shared memory, disks, open files.

Facts only, as a node finds them in seconds; `health_checks` holds them against what must be.
"""

import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from tune_cnn.errors import first_line
from tune_cnn.filesystem import filesystem_of
from tune_cnn.training.inspection.device import DEVICE_FILE
from tune_cnn.training.meters.cards import Card, cards, driver

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
    filesystem: str | None = None  # its type, as ext4 or nfs4; None: not known
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
    name_means: str | None = None  # the address that the node's own name stands for; None: for none
    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # addresses of each that is up
    named_interfaces: Mapping[str, str] = field(default_factory=dict)  # GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME
    shared_free_mib: float | None = None  # of /dev/shm; None where there is none
    disks: tuple[Disk, ...] = ()
    open_files: int = 0  # that a process may have


def find_facts(folders: Mapping[str, str]) -> NodeFacts:
    """Ask this node. `folders`: by what they are for; `~` is the user's home here."""
    found, has = cards(), driver()
    free = shutil.disk_usage(SHARED_MEMORY).free / MIB if SHARED_MEMORY.is_dir() else None
    disks = {**folders, "temporary files": tempfile.gettempdir()}
    return NodeFacts(
        host=platform.node(),
        versions=installed(),
        has_gpu_file=DEVICE_FILE.exists(),
        driver=has.version,
        cuda=has.cuda,
        gpus=tuple(_tried(one) for card in found for one in (card.slices if card.is_cut else (card,))),
        name_means=_name_means(),
        interfaces=_interfaces(),
        named_interfaces={n: os.environ[n] for n in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if os.environ.get(n)},
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


def _tried(card: Card) -> Gpu:
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


def _name_means() -> str | None:
    """Where gloo listens, unless it is told otherwise: the first address of the node's name that is its own."""
    with suppress(OSError):
        for family, _, _, _, place in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.bind((place[0], 0))
                return str(place[0])
    return None


def _interfaces() -> dict[str, tuple[str, ...]]:
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found: dict[str, tuple[str, ...]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        told = [a.address.partition("%")[0] for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        if name in up and told:
            found[name] = tuple(told)
    return found


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
        filesystem=filesystem_of(there),
        total_mib=usage.total / MIB,
        free_mib=usage.free / MIB,
        error=error,
    )
