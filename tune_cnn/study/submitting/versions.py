"""What must be the same here and on the cluster, and in which of it the two differ."""

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tune_cnn.errors import InputError

PACKAGES = ("ray", "torch", "torchvision", "tune_cnn")
_CODE = "tune_cnn's code"


def versions() -> dict[str, str]:
    """Of this process; tune_cnn's code by its hash, as a checkout changes without a new version."""
    return {"python": platform.python_version(), **{name: _of(name) for name in PACKAGES}, _CODE: _code()}


def differing(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """A text for each of `there` that is another one here. Python's last number doesn't count: pickles are the same."""
    return [
        f"{name} {here.get(name, 'none')} here, {there[name]} on the cluster"
        for name in there
        if _compared(name, here.get(name, "")) != _compared(name, there[name])
    ]


def check_same(here: Mapping[str, str], there: Mapping[str, str], *, where: str) -> None:
    """InputError that names what differs."""
    if wrong := differing(here, there):
        raise InputError(
            f"{where}: has other versions than the machine that submits: {'; '.join(wrong)}. Trials would fail or "
            "differ; install the same on both (`uv sync` of one checkout), and restart Ray there"
        )


def _compared(name: str, found: str) -> str:
    return found.rpartition(".")[0] if name == "python" else found


def _of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _code() -> str:
    folder = Path(__file__).parents[2]
    hashed = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        hashed.update(f"{file.relative_to(folder)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()[:12]
