"""Compiled code is found again by the next slot and the next search, and compiling keeps to its cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.training.process.compiling import set_up_compiler

COMPILE = """
import json, sys, torch
from tune_cnn.training.process.compiling import cached_pct, set_up_compiler
set_up_compiler(cache_dir=sys.argv[1], threads=1)
read = cached_pct()
before = read()
torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.ones(3))
print(json.dumps([before, read(), torch._inductor.config.compile_threads]))
"""


def compiled(folder: Path) -> list[float | None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR")}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder)], capture_output=True, text=True, check=True, env=environment
    )
    found: list[float | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_another_process_finds_the_code_that_one_has_compiled(tmp_path: Path) -> None:
    """Nothing is told before something was compiled; the first compile is cold, the next process's is warm."""
    assert compiled(tmp_path) == [None, 0.0, 1]
    assert compiled(tmp_path) == [None, 100.0, 1]


def test_your_own_cache_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names one; the threads are the trial's all the same."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "64")
    set_up_compiler(cache_dir=str(tmp_path), threads=3)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere"
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "3"
