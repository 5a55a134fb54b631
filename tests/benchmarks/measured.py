"""What all measurements share: the machine and its versions, medians with their spread, a table and a JSON file."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

OURS = ("tune-cnn", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "sqlalchemy")
RIVALS = ("torch", "torchvision", "ray", "optuna", "mlflow", "syne-tune")
TELL_VERSIONS = (
    "import json, sys; from importlib.metadata import distributions; "
    "print(json.dumps({d.name.lower(): d.version for d in distributions() if d.name.lower() in sys.argv[1:]}))"
)


def machine(rivals_python: Path | None = None) -> dict[str, Any]:
    """Hardware and versions, those of the rivals' environment too; printed as well as returned."""
    told: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())],
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 1) for load in os.getloadavg()],  # of the last 1, 5 and 15 minutes: was it alone?
        "python": platform.python_version(),
        "versions": _versions(),
    }
    if rivals_python is not None:
        asked = subprocess.run(
            [str(rivals_python), "-c", TELL_VERSIONS, *RIVALS], capture_output=True, text=True, check=True
        )
        told["rivals_versions"] = json.loads(asked.stdout)
    sys.stderr.write("".join(f"{name}: {value}\n" for name, value in told.items()))
    return told


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    if not values:
        return "–"
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return f"{middle} ({low} … {high})"


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under the names of their values."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(names):
        table.add_column(name, justify="left" if not at else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name, "")) for name in names))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Called after every run with all that was measured so far: what breaks later must not cost it.

    What stands there is whole at any moment, also while this is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
    beside.replace(path)
    sys.stderr.write(f"written: {path}\n")


def _cell(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else str(value)


def _versions() -> dict[str, str]:
    found = {}
    for package in OURS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
