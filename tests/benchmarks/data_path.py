"""Goal 2 of speed: images a second in real training, against what the same steps reach with their data at hand.

    python tests/benchmarks/data_path.py --root ROOT_OF_FASHION_MNIST --repeats 3 --out data_path.json

The ceiling is the same step on one resident batch; on a CPU, where both share the cores, plus the measured cost of the
data (an epoch of the `device` loader, consumed and not trained on). Rival: torchvision's data set and PIL transforms
through torch's DataLoader with 0, 1 and 2 workers, in a plain training loop. All train the second of two epochs on the
clock, in this process, and take turns within each repeat. On a CUDA device the share of active SMs stands beside it.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contest import unpacked
from measured import machine, save, show, spread
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.training.data.order import largest_shift
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.optimizers.making import make_optimizer

MEAN, STD = (0.2860,), (0.3530,)  # of Fashion-MNIST's training images
SIDE, CLASSES = 28, 10
VALIDATION = 0.2  # of the images drawn, so that 5 of 4 train
LOADERS = (("device", 0), ("batched", 0), ("batched", 1), ("stream", 0), ("stream", 1))
RIVAL_WORKERS = (0, 1, 2)

Runs = dict[str, list[dict[str, float]]]  # by system


@dataclass(frozen=True, kw_only=True)
class Case:
    root: Path
    cache: Path
    model: str
    batch_size: int
    augment: str
    images: int  # of the training split
    cuda: bool

    def job(self, loader: str, workers: int) -> TrainingJob:
        return TrainingJob(
            trial=0,
            configuration=Configuration(
                epochs=2,
                batch_size=self.batch_size,
                learning_rate=0.01,
                augment=self.augment,  # type: ignore[arg-type]  # one of its values
                loader=loader,  # type: ignore[arg-type]  # likewise one of them
                loader_workers=workers,
            ),
            data=DataSpec(
                name="fashion_mnist",
                root=str(self.root),
                subset=round(self.images / (1 - VALIDATION)),
                validation=VALIDATION,
                offline=True,
            ),
            model=ModelSpec(name=self.model),
            gpu_share=1.0 if self.cuda else 0.0,
            cpus_per_rank=cores(),
            cache_dir=str(self.cache),
        )


def cores() -> int:
    return len(os.sched_getaffinity(0))


def ours(rank: RankTraining, case: Case, loader: str, workers: int) -> dict[str, float]:
    """The second epoch of a trial, by its own clock."""
    with begun(rank, case.job(loader, workers)):
        images = len(_loader(rank).plan.images)
        first, second = rank.train_epoch().metrics, rank.train_epoch().metrics
    return {"images_per_s": images / (second["train_time_s"] - first["train_time_s"])} | {
        name: second[name] for name in ("sm_active_pct", "gpu_util_pct") if name in second
    }


def ceiling(rank: RankTraining, case: Case) -> dict[str, float]:
    """As many steps on one resident batch, and what the epoch's data cost by themselves, of an image each.

    The epoch's last batch may be smaller: the split by classes gives some images more or less than were asked for.
    """
    with begun(rank, case.job("device", 0)):
        loader = _loader(rank)
        began_s = time.monotonic()
        for batch in loader.epoch(0):
            last = batch
        _wait(case.cuda)
        data_s = time.monotonic() - began_s
        batch = next(iter(loader.epoch(0)))
        del last
        loader.epoch = lambda *_, **__: itertools.repeat(batch, loader.steps)
        first, second = rank.train_epoch().metrics, rank.train_epoch().metrics
    step_s = (second["train_time_s"] - first["train_time_s"]) / (loader.steps * case.batch_size)
    data_s /= len(loader.plan.images)
    whole_s = step_s + (0.0 if case.cuda else data_s)
    return {"images_per_s": 1 / whole_s, "data_share": data_s / (step_s + data_s)}


def _loader(rank: RankTraining) -> Any:
    assert rank._trial is not None
    return rank._trial._training._loader  # type: ignore[union-attr]  # our own training has one


@contextmanager
def begun(rank: RankTraining, job: TrainingJob) -> Iterator[None]:
    rank.begin(job)
    try:
        yield
    finally:
        rank.end()


def rival(case: Case, workers: int) -> dict[str, float]:
    """As torchvision's and torch's documentation show it, the weights and updates being ours."""
    torch.manual_seed(0)
    torch.set_num_threads(max(1, cores() - workers))
    device = torch.device("cuda" if case.cuda else "cpu")
    moved = [transforms.RandomCrop(SIDE, padding=largest_shift(SIDE)), transforms.RandomHorizontalFlip()]
    steps = [*(moved if case.augment == "crop_flip" else []), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = datasets.FashionMNIST(case.root, train=True, transform=transforms.Compose(steps))
    loader = DataLoader(
        Subset(images, range(case.images)),
        case.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=case.cuda,
    )
    model = build_model(case.model, num_classes=CLASSES, in_channels=1, image_size=(SIDE, SIDE)).to(device).train()
    optimizer = make_optimizer(model, Configuration(), learning_rate=0.01)
    for _ in range(2):
        began_s = time.monotonic()
        for images_nchw, labels_n in loader:
            _step(model, optimizer, images_nchw.to(device, non_blocking=True), labels_n.to(device, non_blocking=True))
        _wait(case.cuda)
        took_s = time.monotonic() - began_s
    return {"images_per_s": case.images / took_s}


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images_nchw: torch.Tensor, labels_n: torch.Tensor
) -> None:
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(images_nchw), labels_n).backward()
    optimizer.step()


def _wait(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def measure(case: Case, repeats: int, rivals: bool, done: Callable[[Runs], None]) -> Runs:
    """Every system once a repeat, in turn; each repeat begins with another one. `done` is told all after every run."""
    rank = RankTraining()
    systems: dict[str, Callable[[], dict[str, float]]] = {"ceiling": lambda: ceiling(rank, case)}
    for loader, workers in LOADERS:
        if workers < cores():
            name = f"{loader}, {workers} workers" if loader != "device" else loader
            systems[name] = lambda loader=loader, workers=workers: ours(rank, case, loader, workers)  # type: ignore[misc]  # bound by its default
    for workers in RIVAL_WORKERS if rivals else ():
        systems[f"PIL, {workers} workers"] = lambda workers=workers: rival(case, workers)  # type: ignore[misc]  # bound by its default
    found: Runs = {name: [] for name in systems}
    names = list(systems)
    for repeat in range(repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            found[name].append(systems[name]())
            done(found)
    return found


def rows_of(case: Case, found: Runs) -> list[dict[str, Any]]:
    """Shares of the ceiling are those of each repeat, to the median of them."""
    tops = [run["images_per_s"] for run in found["ceiling"]]
    rows = []
    for name, runs in found.items():
        rates = [run["images_per_s"] for run in runs]
        row = {
            "model": case.model,
            "batch": case.batch_size,
            "augment": case.augment,
            "system": name,
            "n": len(runs),
            "images/s": spread(rates, 0),
            "of ceiling": f"{100 * statistics.median(r / top for r, top in zip(rates, tops, strict=True)):.0f} %",
        }
        sm = [run["sm_active_pct"] for run in runs if "sm_active_pct" in run]
        rows.append({**row, "SM active": spread(sm, 0)} if case.cuda else row)
    return rows


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--models", nargs="*", default=["lenet5", "resnet20"])
    parser.add_argument("--batches", nargs="*", type=int, default=[32, 256, 1024])
    parser.add_argument("--augment", nargs="*", default=["none", "crop_flip"])
    parser.add_argument("--images", type=int, default=8192, help="about, of the training split; times every batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("data_path.json"))
    return parser


def main() -> None:
    parser = command_line()
    asked = parser.parse_args()
    if any(asked.images % batch for batch in asked.batches):
        parser.error(f"--images: must be a multiple of every batch, got {asked.images} and {asked.batches}")
    about, cuda = machine(), torch.cuda.is_available()
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = unpacked(asked.root, Path(folder) / "images")  # which the rival reads
        for model, batch_size, augment in itertools.product(asked.models, asked.batches, asked.augment):
            case = Case(
                root=root,
                cache=Path(folder) / "cache",
                model=model,
                batch_size=batch_size,
                augment=augment,
                images=asked.images,
                cuda=cuda,
            )
            of_case: dict[str, Any] = {"model": model, "batch_size": batch_size, "augment": augment}
            runs.append(of_case)

            def keep(found: Runs, of_case: dict[str, Any] = of_case) -> None:
                of_case["runs"] = found
                save(asked.out, {"machine": about, "cases": runs, "table": rows})

            rows.extend(rows_of(case, measure(case, asked.repeats, not asked.no_rivals, keep)))
            save(asked.out, {"machine": about, "cases": runs, "table": rows})
    show(rows)


if __name__ == "__main__":
    main()
