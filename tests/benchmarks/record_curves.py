"""Record the learning curve of every configuration of a grid, with the project's own training code.

    nice -n 5 env OMP_NUM_THREADS=1 python tests/benchmarks/record_curves.py fashion-lenet --data-root ./data

One process, one thread, images resident in memory. Each configuration is a line of the working file's journal as soon
as it is trained: the same command again goes on where the last one ended, and writes `recorded/NAME.csv.gz` once the
grid is whole (or with `--write-anyway`).

What the columns are:

- `accuracy`, `val_loss`, `train_loss`: as trained, one seed for each configuration (its number in the grid).
- `train_cpu_s`: CPU seconds of the epoch's training steps by the training thread's own clock. Not wall-clock seconds:
  the machine was shared, and one thread with its data in memory never waits, so that on an idle core the two are equal.
- `memory_mib`: not measured but counted, as a process's resident memory says little of one trial: weights, gradients
  and the optimizer's state, and what autograd keeps of one batch's forward pass.

A configuration that diverges ends with a line whose measures are empty.
"""

import argparse
import csv
import gc
import gzip
import io
import itertools
import json
import os
import platform
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.meters.meter import Meter
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining

RECORDED = Path(__file__).parent / "recorded"
MEASURES = ("accuracy", "val_loss", "train_loss", "train_cpu_s", "memory_mib")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A full factorial: every combination of `space` is trained to its horizon `epochs`."""

    data: Mapping[str, Any]
    model: str
    space: Mapping[str, Sequence[Any]]

    def configurations(self) -> list[dict[str, Any]]:
        return [dict(zip(self.space, values, strict=True)) for values in itertools.product(*self.space.values())]


# The validation splits are larger than usual: with few images, chance alone would decide who is on the front.
FASHION = {"name": "fashion_mnist", "validation": 0.4}
DIGITS = {"name": "digits", "validation": 0.4}
GRIDS = {
    "fashion-lenet": Grid(
        data={**FASHION, "subset": 2400},
        model="lenet5",
        space={
            "batch_size": [16, 32, 64, 128, 256, 512],
            "learning_rate": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            "model.width": [0.5, 1.0, 2.0],
            "label_smoothing": [0.0, 0.1],
            "epochs": [3, 9],
        },
    ),
    "fashion-resnet": Grid(
        data={**FASHION, "subset": 1000, "image_size": 14},
        model="resnet20",
        space={
            "batch_size": [16, 32, 64, 128, 256],
            "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            "model.width": [2, 4],
            "optimizer": ["sgd", "adamw"],
            "epochs": [3, 8],
        },
    ),
    "digits-cnn": Grid(
        data=DIGITS,
        model="small_cnn",
        space={
            "batch_size": [16, 32, 64, 128, 256],
            "learning_rate": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            "model.width": [4, 8, 16, 32],
            "label_smoothing": [0.0, 0.1],
            "epochs": [4, 12],
        },
    ),
    "digits-densenet": Grid(
        data={**DIGITS, "subset": 800},
        model="densenet_bc_100_12",
        space={
            "batch_size": [16, 32, 64, 128, 256],
            "learning_rate": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            "model.growth_rate": [4, 8],
            "model.depth": [10, 16],
            "optimizer": ["sgd", "adamw"],
            "epochs": [2, 6],
        },
    ),
    "fashion-cnn": Grid(
        data={**FASHION, "subset": 1500, "image_size": 14},
        model="small_cnn",
        space={
            "batch_size": [16, 32, 64, 128, 256],
            "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
            "model.width": [4, 8, 16],
            "optimizer": ["sgd", "adamw"],
            "epochs": [3, 8],
        },
    ),
    "digits-resnet": Grid(
        data={**DIGITS, "subset": 800},
        model="resnet20",
        space={
            "batch_size": [16, 32, 64, 128, 256],
            "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            "model.width": [2, 4],
            "optimizer": ["sgd", "adamw"],
            "epochs": [3, 9],
        },
    ),
}


class ThreadCpu(Meter):
    """train_cpu_s: CPU seconds of the calling thread within stretches, since the trial's start."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._cpu_time_s = 0.0

    def enter(self, now_s: float) -> None:
        self._entered_s = time.thread_time()

    def leave(self, now_s: float) -> None:
        self._cpu_time_s += time.thread_time() - self._entered_s

    def read(self) -> dict[str, float]:
        return {"train_cpu_s": self._cpu_time_s}


def record(rank: RankTraining, grid: Grid, number: int, root: str, cache_dir: str) -> Iterator[dict[str, Any]]:
    """The measures of each epoch of one configuration, from epoch 1; a diverging one ends with empty measures."""
    params = grid.configurations()[number]
    job = TrainingJob(
        trial=number,
        configuration=Configuration.from_params(params),
        data=DataSpec(root=root, **grid.data),
        model=ModelSpec(name=grid.model),
        seed=number,
        cache_dir=cache_dir,
    )
    before_s = 0.0
    try:
        rank.begin(job)
        meters = rank._current.context.meters
        meters._parts.append(ThreadCpu())  # the project's own clock is the wall's, right on an idle machine alone
        memory_mib = training_memory_mib(rank, job.configuration)
        for _ in range(job.last_epoch):
            metrics = rank.train_epoch().metrics
            cpu_s = metrics["train_cpu_s"] - before_s
            before_s = metrics["train_cpu_s"]
            yield {**{k: metrics[k] for k in MEASURES[:3]}, "train_cpu_s": cpu_s, "memory_mib": memory_mib}
    except TrialError as error:
        if "diverged" not in str(error):
            raise
        print(f"{number}: {error}", file=sys.stderr)
        yield dict.fromkeys(MEASURES, "")
    finally:
        rank.end()


_counted: dict[str, float] = {}


def training_memory_mib(rank: RankTraining, configuration: Configuration) -> float:
    """Weights, gradients, optimizer state, and what one batch's forward pass leaves to autograd."""
    key = f"{configuration.model} {configuration.batch_size} {configuration.optimizer}"
    if key not in _counted:
        with torch.random.fork_rng(devices=[]):
            _counted[key] = _count_memory_mib(rank, configuration)
    return _counted[key]


def _count_memory_mib(rank: RankTraining, configuration: Configuration) -> float:
    context = rank._current.context
    facts = context.images.facts
    model = build_model(
        context.job.model.name,
        num_classes=facts.num_classes,
        in_channels=facts.in_channels,
        image_size=facts.image_size,
        arguments=configuration.model,
    )
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    images_nchw = torch.zeros(configuration.batch_size, facts.in_channels, *facts.image_size)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(images_nchw)  # alive until the count: a freed block's address may be given again
    F.cross_entropy(logits, torch.zeros(len(images_nchw), dtype=torch.int64))
    weights = {p.untyped_storage().data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    activations = sum(size for at, size in kept.items() if at not in weights)
    copies = 4 if configuration.optimizer == "adamw" else 3  # weights, gradients, and two moments or one
    return (sum(weights.values()) * copies + activations) / 2**20


def journal_of(path: Path, grid: Grid) -> dict[int, list[dict[str, Any]]]:
    """The grid's configurations recorded so far, by number; a last line that was cut off is none."""
    epochs_of: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        epochs_of[json.dumps(entry["params"])] = entry["epochs"]
    numbered = enumerate(map(json.dumps, grid.configurations()))
    return {number: epochs_of[text] for number, text in numbered if text in epochs_of}


def write_table(name: str, grid: Grid, done: Mapping[int, list[dict[str, Any]]], command: str) -> Path:
    """The CSV, gzipped without a date so that equal contents are equal bytes; lines starting with # say what it is."""
    about = {
        "table": name,
        "model": grid.model,
        "data": dict(grid.data),
        "configurations": len(done),
        "command": command,
        "versions": {"tune_cnn": version("tune-cnn"), "torch": torch.__version__, "python": platform.python_version()},
        "machine": f"{platform.machine()}, one thread, shared by others meanwhile",
        "train_cpu_s": "CPU seconds of this epoch's training steps by the training thread's clock",
        "memory_mib": "counted: weights, gradients, optimizer state, activations of one batch",
        "seed": "the configuration's number in the grid",
    }
    text = io.StringIO()
    text.write(f"# {json.dumps(about)}\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*grid.space, "epoch", *MEASURES])
    for number, params in enumerate(grid.configurations()):
        for epoch, measures in enumerate(done.get(number, []), start=1):
            row = [measures[k] if measures[k] == "" else f"{measures[k]:.5g}" for k in MEASURES]
            table.writerow([*params.values(), epoch, *row])
    path = RECORDED / f"{name}.csv.gz"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        packed.write(text.getvalue().encode())
    return path


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Record the learning curves of a grid.")
    parser.add_argument("table", choices=GRIDS)
    parser.add_argument("--data-root", default="./data", help="folder of Fashion-MNIST")
    parser.add_argument("--work", type=Path, default=Path("./recording"), help="journals and decoded images")
    parser.add_argument("--most", type=int, help="end after so many configurations; again goes on from there")
    parser.add_argument("--write-anyway", action="store_true", help="train nothing, write what is there")
    return parser


def main() -> None:
    options = command_line().parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    grid, journal = GRIDS[options.table], options.work / f"{options.table}.jsonl"
    done = journal_of(journal, grid)
    # In random order: the machine's mood is no property of a region of the grid, and a part of it is a fair sample.
    numbers = random.Random(0).sample(range(len(grid.configurations())), k=len(grid.configurations()))
    todo = [] if options.write_anyway else [n for n in numbers if n not in done][: options.most]
    rank = RankTraining()
    with journal.open("a") as out:
        for count, number in enumerate(todo, start=1):
            begun_s = time.monotonic()
            done[number] = list(record(rank, grid, number, options.data_root, str(options.work / "cache")))
            entry = {"params": grid.configurations()[number], "epochs": done[number]}
            out.write("\n" * (count == 1) + json.dumps(entry) + "\n")
            out.flush()
            if count == 1:
                gc.freeze()  # the libraries' own objects: the collection before each trial need not walk them
            print(f"{count}/{len(todo)} {time.monotonic() - begun_s:.1f} s", flush=True)
    if len(done) < len(numbers) and not options.write_anyway:
        print(f"{len(done)} of {len(numbers)} configurations are recorded in {journal}")
        return
    command = "OMP_NUM_THREADS=1 python " + " ".join([os.path.relpath(__file__), options.table, "--data-root ./data"])
    print(write_table(options.table, grid, done, command))


if __name__ == "__main__":
    main()
