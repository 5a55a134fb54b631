"""What every rival writes down while it works: one JSON line for a first step, an epoch, an end."""

import json
import os
import time
from pathlib import Path
from typing import Any

FOLDER = "BENCHMARK_EVENTS"  # environment variable: where the lines go, one file a process


def note(event: str, trial: str, **facts: Any) -> None:
    """Append a line; times are seconds of the machine's clock, which all processes share."""
    line = json.dumps({"event": event, "trial": trial, "at_s": time.time(), **facts})
    with (Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(line + "\n")
