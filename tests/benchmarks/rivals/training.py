"""The training that the rivals wrap: PyTorch as its documentation and torchvision's show it.

Nothing is made slow on purpose: one compute thread a slot (as Ray and Syne Tune set it), persistent loader workers,
evaluation in large batches without gradients, the mean and deviation known beforehand.
"""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from events import note
from settings import Settings
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

MEAN, STD = (0.2860,), (0.3530,)  # of Fashion-MNIST's training images
BASE_BATCH = 128
CHANCE = 0.1  # the accuracy of a net of NaNs on ten classes


class LeNet5(nn.Module):
    """The same 61,706 parameters as tune_cnn's lenet5."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.features(images_nchw), 1))


def train(trial: str, config: Mapping[str, Any], settings: Settings) -> Iterator[dict[str, float]]:
    """Yield {accuracy, train_time_s} after each epoch, and note the first step and every epoch."""
    code = _ours if settings.training == "ours" else _stock
    for epoch, metrics in enumerate(code(config, settings)):
        if epoch == 0:
            note("step", trial)
            continue
        note("epoch", trial, epoch=epoch, config=dict(config), **metrics)
        yield metrics


def _stock(config: Mapping[str, Any], settings: Settings) -> Iterator[dict[str, float]]:
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    batch, workers = int(config["batch_size"]), int(config.get("loader_workers", 0))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    images = datasets.FashionMNIST(settings.root, train=True, transform=transform)
    positions = np.load(settings.split)
    kept = {"num_workers": workers, "persistent_workers": workers > 0}
    loader = DataLoader(Subset(images, positions["train"].tolist()), batch, shuffle=True, **kept)  # type: ignore[arg-type]  # each by its name
    validation = DataLoader(Subset(images, positions["validation"].tolist()), 512)
    model = LeNet5()
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config.get("lr_rule", "none")]
    rate = float(config["learning_rate"]) * (batch / BASE_BATCH) ** power
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * len(loader))
    half = config.get("precision", "fp32") == "bf16"
    train_time_s = 0.0
    yield {}  # the first step comes now
    for _ in range(settings.epochs):
        model.train()
        began_s = time.perf_counter()
        for images_nchw, labels_n in loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = F.cross_entropy(model(images_nchw).float(), labels_n)
            loss.backward()
            optimizer.step()
            schedule.step()
        train_time_s += time.perf_counter() - began_s
        yield {"accuracy": _accuracy(model, validation), "train_time_s": train_time_s}


@torch.inference_mode()
def _accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    model.eval()
    right = images = 0
    for images_nchw, labels_n in loader:
        right += int((model(images_nchw).argmax(1) == labels_n).sum())
        images += len(labels_n)
    return right / images


@functools.cache
def _rank() -> Any:
    """This process's own, as warm from trial to trial as that of a slot of tune_cnn's, failed trials or not."""
    from tune_cnn.training.rank import RankTraining

    return RankTraining()


def _ours(config: Mapping[str, Any], settings: Settings) -> Iterator[dict[str, float]]:
    """tune_cnn's training under a rival's search: what of the difference is training, what is search."""
    from pathlib import Path

    from tune_cnn.errors import TrialError
    from tune_cnn.spec import Configuration, DataSpec, ModelSpec
    from tune_cnn.training.messages import TrainingJob

    if config["loader"] == "device":  # a rival's space is flat, and has workers for a loader that has none
        config = {key: value for key, value in config.items() if key != "loader_workers"}
    positions = np.load(settings.split)
    images = len(positions["train"]) + len(positions["validation"])
    job = TrainingJob(
        trial=0,
        configuration=Configuration.from_params({**config, "epochs": settings.epochs}),
        data=DataSpec(
            name="fashion_mnist",
            root=settings.root,
            subset=images,
            validation=len(positions["validation"]) / images,
            offline=True,
        ),
        model=ModelSpec(name="lenet5"),
        seed=settings.seed,
        split_seed=settings.seed,
        cache_dir=str(Path(settings.split).parent / "cache"),
    )
    rank = _rank()
    rank.begin(job)
    try:
        yield {}  # the first step comes now
        done, metrics = False, {"accuracy": CHANCE, "train_time_s": 0.0}
        while not done:
            began_s = time.perf_counter()
            try:
                result = rank.train_epoch()
                done, metrics = result.done, {name: result.metrics[name] for name in metrics}
            except TrialError:  # diverged: ours ends the trial, where the stock training goes on at chance
                done = True
                metrics = {"accuracy": CHANCE, "train_time_s": metrics["train_time_s"] + time.perf_counter() - began_s}
            yield metrics
    finally:
        rank.end()
