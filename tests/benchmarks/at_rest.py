"""Goal 5 of speed: how long the commands take that train nothing, and how long until the first trial trains.

    python tests/benchmarks/at_rest.py --repeats 5 --out at_rest.json

`--help`, `front` and `export` on a study of twelve trials; a search of digits from its command to its first training
step, so with model, optimizer and loader made: the report of the first epoch less that epoch's training and evaluation,
which is later than the step itself by the report's way to the store. Beside the wall clock, CPU seconds (user and
system), those of the search until the report was seen: they hold on a busy machine too. The study's own search comes
first, so files are in the page cache and modules compiled, as on any second call.
"""

import argparse
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from measured import machine, save, show, spread

SPEC = {
    "study": "at-rest",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 3, "batch_size": [64, 128], "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
    "budget": {"trials": 12},
}
GOALS_S = {"--help": 0.3, "front": 1.0, "export": 1.0, "search": 15.0}
POLL_S = 0.1

Runs = dict[str, list[dict[str, float]]]  # by command


def command(*words: str) -> list[str]:
    """As a shell would start it: the script that installing makes."""
    script = Path(sys.executable).with_name("tune-cnn")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "tune_cnn", *words]


def timed(words: list[str], folder: Path) -> dict[str, float]:
    """Wall and CPU seconds of a command that ends."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command(*words), cwd=folder, env=_environment(), stdout=subprocess.DEVNULL, check=True)
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall_s, "cpu_s": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime}


def first_step(folder: Path) -> dict[str, float]:
    """Wall seconds from the command to the first training step; CPU seconds of all processes, to its epoch's report."""
    home = folder / "cold"
    spec = folder / "cold.yaml"
    spec.write_text(json.dumps({**SPEC, "study": "cold"}))
    began_s = time.time()
    with (folder / "cold.log").open("w") as log:
        words = command("search", str(spec), "--home", str(home), "--tracking-uri", f"sqlite:///{home}/mlflow.db")
        search = subprocess.Popen(words, cwd=folder, env=_environment(), stdout=log, stderr=log)
        cpu_s: dict[int, float] = {}
        try:
            while (stepped_s := _first_step(home / "studies.db")) is None:
                if search.poll() is not None:
                    raise SystemExit(f"the search ended early:\n{(folder / 'cold.log').read_text()}")
                _count_cpu(search.pid, cpu_s)
                time.sleep(POLL_S)
        finally:
            search.terminate()
            search.wait(120)
    shutil.rmtree(home)
    return {"wall_s": stepped_s - began_s, "cpu_s": sum(cpu_s.values())}  # POLL_S is all that CPU misses


def _first_step(store: Path) -> float | None:
    """When the first step was, on the machine's clock; None before an epoch was reported.

    Not by total_time_s, which starts at "data ready": making model, optimizer and loader is not training yet. Of
    slots that start together all that have reported by now are looked at.
    """
    if not store.exists():
        return None
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT reported_ms, metrics FROM tune_cnn_points WHERE epoch = 1").fetchall()
    except sqlite3.OperationalError:  # its tables are being made
        return None
    first = [(reported_ms / 1000, json.loads(metrics)) for reported_ms, metrics in rows]
    return min((at_s - told["train_time_s"] - told["eval_time_s"] for at_s, told in first), default=None)


def _count_cpu(pid: int, cpu_s: dict[int, float]) -> None:
    try:
        for process in (of := psutil.Process(pid), *of.children(recursive=True)):
            times = process.cpu_times()
            cpu_s[process.pid] = times.user + times.system
    except psutil.Error:
        return


def _environment() -> dict[str, str]:
    """The caller's, with modules compiled as an installation compiles them."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def measure(folder: Path, repeats: int, searches: int, done: Callable[[Runs], None]) -> Runs:
    """`done` is told all that is measured after every run."""
    spec = folder / "spec.yaml"
    spec.write_text(json.dumps(SPEC))
    timed(["search", str(spec), "--home", "home", "--tracking-uri", "sqlite:///mlflow.db"], folder)
    words = {
        "--help": ["--help"],
        "front": ["front", "at-rest", "--home", "home"],
        "export": ["export", "at-rest", "--home", "home"],
    }
    found: Runs = {name: [] for name in GOALS_S}
    for repeat in range(max(repeats, searches)):
        for name, of in words.items():
            if repeat < repeats:
                found[name].append(timed(of, folder))
                done(found)
        if repeat < searches:
            found["search"].append(first_step(folder))
            done(found)
    return found


def table(found: Runs) -> list[dict[str, Any]]:
    return [
        {
            "command": f"{name}, to its first step" if name == "search" else name,
            "n": len(runs),
            "wall [s]": spread([run["wall_s"] for run in runs]),
            "CPU [s]": spread([run["cpu_s"] for run in runs]),
            "goal [s]": GOALS_S[name],
        }
        for name, runs in found.items()
    ]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("at_rest.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    about = machine()

    def keep(found: Runs) -> None:
        save(asked.out, {"machine": about, "goals_s": GOALS_S, "runs": found, "table": table(found)})

    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), asked.repeats, asked.searches, keep)
    show(table(found))


if __name__ == "__main__":
    main()
