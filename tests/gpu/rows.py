"""What the acceptance script is made of: items, each of which writes rows."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.rank import RankTraining


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was looked at."""

    what: str
    figure: str
    must_hold: str = ""  # empty: told for information
    held: bool = True


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where it runs."""

    cuda: bool
    folder: Path  # for whatever the items write
    data: DataSpec
    images: int  # of a training
    command: tuple[str, ...]  # that starts this script again, with the same options

    @property
    def model(self) -> str:
        """A net that starts many small kernels."""
        return "lenet5" if self.cuda else "small_cnn"

    def job(
        self, *, model: str | None = None, share: float = 1.0, subset: int | None = None, **settings: Any
    ) -> TrainingJob:
        """A training job; keywords of the job beginning with `job_`, the others of the configuration."""
        of_job = {key.removeprefix("job_"): settings.pop(key) for key in list(settings) if key.startswith("job_")}
        data = self.data.model_copy(update={"subset": subset}) if subset else self.data
        return TrainingJob(
            trial=0,
            configuration=Configuration(**{"epochs": 1, "batch_size": 256, "learning_rate": 0.05, **settings}),
            data=data,
            model=ModelSpec(name=model or self.model),
            gpu_share=share if self.cuda else 0.0,
            slots_per_gpu=round(1 / share),
            cpus_per_rank=1 + int(settings.get("loader_workers", 0)),
            cache_dir=str(self.folder / "cache"),
            **of_job,
        )


Rows = Iterator[Row]
Function = Callable[[Setup], Rows]


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is looked at together, in a process of its own."""

    name: str
    limit_s: float
    on_cpu: bool  # whether it says something without a GPU
    alone: bool  # False: another item starts it
    rows: Function


ITEMS: dict[str, Item] = {}


def item(
    limit_s: float, *, on_cpu: bool = False, alone: bool = True
) -> Callable[[Callable[[Setup], Rows]], Callable[[Setup], Rows]]:
    """Enter a function among the items, in the order of the files."""

    def enter(rows: Function) -> Function:
        ITEMS[rows.__name__] = Item(name=rows.__name__, limit_s=limit_s, on_cpu=on_cpu, alone=alone, rows=rows)
        return rows

    return enter


def train(rank: RankTraining, job: TrainingJob, epochs: int | None = None) -> tuple[list[EpochResult], dict[str, Any]]:
    """Train a job to its end, or so many epochs; its results and weights."""
    rank.begin(job)
    try:
        results = [rank.train_epoch()]
        while not results[-1].done and len(results) != epochs:
            results.append(rank.train_epoch())
        return results, rank.weights()
    finally:
        rank.end()


def write(row: Row, file: Path) -> None:
    """Add a row at once: what an item has found stays when the item is ended."""
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    return [Row(**json.loads(line)) for line in file.read_text().splitlines()]
