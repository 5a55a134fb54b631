"""Run the commands as a user does: in a folder of their own, as processes."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECRET = "geheim-" + secrets.token_hex(8)  # stands in every command's environment, and belongs into no file
# The images are embedded; one place for their root, so that a study copied to another folder is the same study there.
SMALL = f"""\
study: small
data: {{name: digits, root: {tempfile.gettempdir()}}}
model: {{name: small_cnn}}
space:
  epochs: 3
  batch_size: [64, 128]
  learning_rate: {{low: 0.01, high: 0.3, log: true}}
  model.width: [4, 8]
budget: {{trials: 4}}
"""


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "TUNE_CNN_"))}
    ours = {
        "TUNE_CNN_CACHE": str(folder / "cache"),
        "TUNE_CNN_DELIVER_MIN": "1",
    }  # no test leaves its outbox for an hour
    return {**kept, **ours, "MLFLOW_TRACKING_PASSWORD": SECRET, "OMP_NUM_THREADS": "1"}


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tune_cnn", *words],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *words: str, code: int = 0, timeout_s: float = 300) -> "subprocess.CompletedProcess[str]":
    """A finished command, which must have ended with `code`."""
    process = start(folder, *words)
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == code, f"tune-cnn {' '.join(words)} ended with {process.returncode}:\n{out}\n{err}"
    return subprocess.CompletedProcess(list(words), process.returncode, out, err)


def run_json(folder: Path, *words: str, timeout_s: float = 300) -> Any:
    """The one JSON document on stdout."""
    return json.loads(run(folder, *words, "--json", timeout_s=timeout_s).stdout)


def points_of(folder: Path, study: str) -> list[tuple[int, int, dict[str, float]]]:
    """The epoch points in the store, read without a command."""
    from tune_cnn.records.store import Store

    store = Store(folder / "studies", create=False)
    try:
        return [(p.trial, p.epoch, dict(p.metrics)) for p in store.points(study)]
    finally:
        store.close()
