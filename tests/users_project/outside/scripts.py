"""Scripts as users have them, a plain one and one by accelerate, each made a generator that takes our loaders."""

import os
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional as F

from tune_cnn import Rank


def net(rank: Rank, width: int) -> nn.Module:
    height, breadth = rank.facts.image_size
    return nn.Sequential(
        nn.Conv2d(rank.facts.in_channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * height * breadth, rank.facts.num_classes),
    )


def accuracy(rank: Rank, model: nn.Module) -> float:
    """Over all ranks."""
    model.eval()
    sums = torch.zeros(2, device=rank.device)
    with torch.no_grad():
        for images_nchw, labels_n in rank.validation:
            sums += torch.tensor([(model(images_nchw).argmax(1) == labels_n).sum(), len(labels_n)], device=rank.device)
    if rank.ranks > 1:
        torch.distributed.all_reduce(sums)
    model.train()
    return float(sums[0] / sums[1])


def plain(rank: Rank) -> Iterator[dict[str, float]]:
    """PyTorch and nothing else."""
    model = rank.make(lambda: net(rank, width=rank.arguments["width"]))
    optimizer = torch.optim.SGD(model.parameters(), lr=rank.configuration.learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rank.configuration.epochs)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    saved = rank.checkpoint.load()
    for name, part in parts.items():
        if saved is not None:
            part.load_state_dict(saved[name])
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        with rank.meters.training():
            for images_nchw, labels_n in rank.meters.watch(rank.train.epoch(epoch)):
                with rank.autocast():
                    loss = F.cross_entropy(model(images_nchw), labels_n)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rank.meters.step(len(labels_n))
        schedule.step()
        rank.checkpoint.save({name: part.state_dict() for name, part in parts.items()})
        yield {"accuracy": accuracy(rank, model)}


def accelerated(rank: Rank) -> Iterator[dict[str, float]]:
    """accelerate averages the gradients and clips them; its launcher is left out, as the ranks are ours."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process trains many trials, perhaps on other ranks
    if rank.ranks > 1:  # what its launcher would have set; the process group stands already
        there = {"RANK": rank.rank, "WORLD_SIZE": rank.ranks, "LOCAL_RANK": rank.device.index or 0}
        os.environ.update({name: str(value) for name, value in there.items()}, LOCAL_WORLD_SIZE=str(rank.ranks))
    accelerator = Accelerator(cpu=rank.device.type == "cpu")
    assert (accelerator.process_index, accelerator.num_processes) == (rank.rank, rank.ranks)
    model = rank.make(lambda: net(rank, width=rank.arguments["width"]))
    optimizer = torch.optim.SGD(model.parameters(), lr=rank.configuration.learning_rate)
    saved = rank.checkpoint.load()
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    wrapped, stepped = accelerator.prepare(model, optimizer)  # not the loader: each rank has its share already
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        with rank.meters.training():
            for images_nchw, labels_n in rank.meters.watch(rank.train.epoch(epoch)):
                loss = F.cross_entropy(wrapped(images_nchw), labels_n)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
                stepped.step()
                stepped.zero_grad()
                rank.meters.step(len(labels_n))
        rank.checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        yield {"accuracy": accuracy(rank, model)}
