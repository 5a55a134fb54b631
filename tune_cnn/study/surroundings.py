"""Where a study ran: versions of what decides the result, and what the machine is."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("tune-cnn", "torch", "torchvision", "ray", "optuna", "mlflow")


def versions() -> dict[str, str]:
    """Versions here of Python and the packages that decide a result; read from metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(promised: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is not as it was when a promise was made, as sentences."""
    return [
        f"{name}: promised on {promised[name]}, here {here[name]}"
        for name in promised
        if name in here and promised[name] != here[name]
    ]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
