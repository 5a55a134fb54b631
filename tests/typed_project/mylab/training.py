"""A training generator of one's own, named in a spec as mylab.training:training."""

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from tune_cnn import Rank


def training(rank: Rank) -> Iterator[dict[str, float]]:
    """Plain SGD; goes on after a restart."""
    model = rank.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rank.configuration.learning_rate)
    state = rank.checkpoint.load()
    if state is not None:
        model.load_state_dict(state["model"])
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        model.train()
        with rank.meters.training():
            for images_nchw, labels_n in rank.meters.watch(rank.train.epoch(epoch)):
                with rank.autocast():
                    loss = F.cross_entropy(model(images_nchw), labels_n)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rank.meters.step(len(labels_n))
        right, count = 0, 0
        with torch.no_grad():
            for images_nchw, labels_n in rank.validation:
                right += int((model.eval()(images_nchw).argmax(dim=1) == labels_n).sum())
                count += len(labels_n)
        rank.checkpoint.save({"model": model.state_dict()})
        yield {"accuracy": right / count}
