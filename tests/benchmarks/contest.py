"""Run tune_cnn and its rivals on the same images, space and slots, and read what each of them did.

Every system leaves the same trace: when it trained its first step, when its command ended, and each epoch with its
trial, configuration, accuracy, training time and the second it was reported. For tune_cnn they come from its store, for
the rivals from the lines that `rivals/events.py` writes.

All systems of a repeat train and validate on the same images, and each repeat draws others: a spec has one seed for its
split and its search, so the same images again would be the same search again. Compare within a repeat.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.prepare import prepare

HERE = Path(__file__).parent
TOP = HERE.parents[1]
RIVALS = {"r1": "r1_ray_tune.py", "r2": "r2_ray_train.py", "r3": "r3_optuna.py", "r4": "r4_syne_tune.py"}


@dataclass(frozen=True, kw_only=True)
class Epoch:
    trial: str
    epoch: int
    config: Mapping[str, Any]
    accuracy: float
    train_time_s: float
    at_s: float  # when it was reported, on the machine's clock


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One run of one system; its `_s` but the budget are of the machine's clock."""

    system: str
    repeat: int
    started_s: float  # when the command was given
    exited_s: float  # when its process had ended, so with reports, MLflow and all shutting down
    first_step_s: float
    epochs: Sequence[Epoch]  # in the order of their reports
    exit_code: int
    budget_s: float  # from the command
    untold: int = 0  # changes that MLflow had not been told at the exit; rivals tell it as they go

    @property
    def ended_s(self) -> float:
        return max(epoch.at_s for epoch in self.epochs)

    @property
    def trials(self) -> dict[str, list[Epoch]]:
        trials: dict[str, list[Epoch]] = {}
        for epoch in self.epochs:
            trials.setdefault(epoch.trial, []).append(epoch)
        return trials


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended: what a trace has of it."""

    started_s: float
    exited_s: float
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every system is asked: LeNet-5 on a part of Fashion-MNIST."""

    root: Path
    train: int  # images
    validation: int
    epochs: int
    trials: int
    seconds: float
    slots: int
    space: Mapping[str, Any]  # of the rivals; tune_cnn's may hold `own_space` beside it
    own_space: Mapping[str, Any]


def environment(folder: Path) -> Path:
    """The rivals' own Python, with this checkout beside them for `--training ours`."""
    python = folder / "bin" / "python"
    if not python.exists():
        clean = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, env=clean)
    install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    subprocess.run([*install, "-r", str(HERE / "rivals" / "requirements.txt"), "-e", str(TOP)], check=True)
    return python


def run_ours(task: Task, *, repeat: int, extra: Mapping[str, Any] | None = None) -> Trace:
    """`tune-cnn search` as a user runs it, seeded by the repeat. `extra`: more keys of the spec."""
    with tempfile.TemporaryDirectory() as folder:
        spec = {
            "study": "contest",
            "seed": repeat,
            "data": _data(task),
            "model": {"name": "lenet5"},
            "objectives": ["accuracy", "train_time_s"],
            "space": {"epochs": task.epochs, **_own(task.space), **task.own_space},
            "resources": {"slots": task.slots, "cpus_per_trial": 1},
            "budget": {"trials": task.trials, "hours": task.seconds / 3600},
            **(extra or {}),
        }
        path = Path(folder) / "contest.yaml"
        path.write_text(yaml.safe_dump(spec))
        command = [str(Path(sys.executable).with_name("tune-cnn")), "search", str(path), "--home", f"{folder}/studies"]
        ran = _run(command, folder, {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"})
        found = _from_store(Path(folder) / "studies" / "studies.db")
        return Trace(system="tune_cnn", repeat=repeat, budget_s=task.seconds, **vars(ran), **found)


def run_rival(name: str, python: Path, task: Task, *, repeat: int, training: str = "stock") -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        asked = _settings(task, Path(folder), seed=repeat, training=training)
        ran = _run([str(python), str(HERE / "rivals" / RIVALS[name]), str(asked)], folder, _variables(folder))
        system = f"{name}{'' if training == 'stock' else '+ours'}"
        found = _from_events(Path(folder) / "events")
        return Trace(system=system, repeat=repeat, budget_s=task.seconds, **vars(ran), **found)


def time_alone(
    configurations: Sequence[Mapping[str, Any]], python: Path, task: Task, *, training: str
) -> Sequence[float]:
    """Median seconds of an epoch of each, trained by this code with nothing beside."""
    if not configurations:
        return []
    with tempfile.TemporaryDirectory() as folder:
        asked, given, out = _settings(task, Path(folder), seed=0, training=training), f"{folder}/in", f"{folder}/out"
        Path(given).write_text(json.dumps(configurations))
        command = [str(python), str(HERE / "rivals" / "alone.py"), str(asked), given, out]
        if _run(command, folder, _variables(folder)).exit_code:
            raise RuntimeError("the configurations could not be timed alone: see above")
        epoch_s: list[float] = json.loads(Path(out).read_text())
    return epoch_s


def _settings(task: Task, folder: Path, *, seed: int, training: str) -> Path:
    """What a rival is asked, in a file; the folder's `events` is where it tells what it does."""
    (folder / "events").mkdir()
    settings = {
        "root": str(task.root),
        "split": str(_split(task, folder, seed)),
        "epochs": task.epochs,
        "trials": task.trials,
        "seconds": task.seconds,
        "slots": task.slots,
        "seed": seed,
        "space": {**task.space, **(_lists(task.own_space) if training == "ours" else {})},
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "training": training,
    }
    asked = folder / "settings.json"
    asked.write_text(json.dumps(settings))
    return asked


def _variables(folder: str) -> dict[str, str]:
    return {
        "BENCHMARK_EVENTS": f"{folder}/events",
        "BENCHMARK_FOLDER": folder,
        "PYTHONPATH": str(HERE / "rivals"),
    }


def _run(command: Sequence[str], folder: str, variables: Mapping[str, str]) -> Ran:
    """Run it to its end, its output kept until it is known to be of no interest."""
    kept = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "RAY_ADDRESS"}}
    kept |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_TRAIN_V2_ENABLED": "1", **variables}
    with (Path(folder) / "log").open("w+") as log:
        began_s = time.time()
        code = subprocess.run(
            command, cwd=folder, env=kept, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
        exited_s = time.time()
        if code:
            log.seek(0)
            sys.stderr.write("".join(log.readlines()[-30:]))
    return Ran(started_s=began_s, exited_s=exited_s, exit_code=code)


def _data(task: Task) -> dict[str, Any]:
    images = task.train + task.validation
    share = task.validation / images
    return {"name": "fashion_mnist", "root": str(task.root), "subset": images, "validation": share, "offline": True}


def _own(space: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {**value, "log": True} if isinstance(value, Mapping) else value for key, value in space.items()}


def _lists(space: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, list | Mapping) else [value] for key, value in space.items()}


def _split(task: Task, folder: Path, seed: int) -> Path:
    """The positions of the images that tune_cnn trains on and validates with, for the rivals to take the same.

    `seed`: its study's, so that they are the same within a repeat alone (see the module).
    """
    sets = prepare(DataSpec(**_data(task)), split_seed=seed, cache_dir=folder / "cache")
    path = folder / "split.npz"
    np.savez(path, train=sets.train.indices, validation=sets.validation.indices)
    return path


def _from_store(path: Path) -> dict[str, Any]:
    """What a trace has of tune_cnn's own records; of nothing where it came to none."""
    if not path.exists():
        return {"epochs": [], "first_step_s": float("inf")}
    with sqlite3.connect(path) as store:
        untold = store.execute("select count(*) from tune_cnn_changes").fetchone()[0]
        params = dict(store.execute("select number, params from tune_cnn_trials"))
        points = store.execute(
            "select trial, epoch, metrics, reported_ms from tune_cnn_points order by reported_ms"
        ).fetchall()
    epochs, first_s = [], float("inf")
    for trial, epoch, metrics_json, reported_ms in points:
        metrics = json.loads(metrics_json)
        epochs.append(
            Epoch(
                trial=str(trial),
                epoch=epoch,
                config=json.loads(params[trial]),
                accuracy=metrics["accuracy"],
                train_time_s=metrics["train_time_s"],
                at_s=reported_ms / 1000,
            )
        )
        if epoch == 1:  # what comes between the first step and the report: training and evaluation
            first_s = min(first_s, reported_ms / 1000 - metrics["train_time_s"] - metrics.get("eval_time_s", 0.0))
    return {"epochs": epochs, "first_step_s": first_s, "untold": untold}


def _from_events(folder: Path) -> dict[str, Any]:
    lines = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
    epochs = [
        Epoch(
            trial=line["trial"],
            epoch=line["epoch"],
            config=line["config"],
            accuracy=line["accuracy"],
            train_time_s=line["train_time_s"],
            at_s=line["at_s"],
        )
        for line in sorted(lines, key=lambda line: line["at_s"])
        if line["event"] == "epoch"
    ]
    first_s = min((line["at_s"] for line in lines if line["event"] == "step"), default=float("inf"))
    return {"epochs": epochs, "first_step_s": first_s}


def side_by_side(trace: Trace) -> float:
    """The mean number of trials in training, from the first step to the last report."""
    open_s = 0.0
    for epochs in trace.trials.values():
        first = min(epochs, key=lambda e: e.epoch)
        open_s += epochs[-1].at_s - (first.at_s - first.train_time_s)
    return open_s / (trace.ended_s - trace.first_step_s)


def unpacked(root: Path, folder: Path) -> Path:
    """A root of Fashion-MNIST whose files are unpacked, as torchvision reads them without asking the network."""
    import gzip

    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for packed in (root / "FashionMNIST" / "raw").glob("*-ubyte.gz"):
        with gzip.open(packed, "rb") as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
        shutil.copy(packed, raw)
    return folder
