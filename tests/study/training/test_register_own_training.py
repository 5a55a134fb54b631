"""`train --register` with a training of the user's own: what its model is, is known once it has begun."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from study.commands import run, run_json

TRAININGS = """
import torch
from torch import nn
from torch.nn import functional as F


def trained(rank, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=rank.configuration.learning_rate)
    model.train()  # once: whoever looks between two epochs leaves it so
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        for images, labels in rank.train.epoch(epoch):
            assert model.training
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        yield {"accuracy": 0.5, "val_loss": float(sum(p.abs().sum() for p in model.parameters()))}


def shown(rank):
    yield from trained(rank, rank.build_model())


def hidden(rank):
    yield from trained(rank, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


class Chooses(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.sure = False

    def forward(self, images):
        logits = self.head(images.flatten(1))
        return logits if self.sure or logits.sum() > 0 else -logits


def choosing(rank):
    yield from trained(rank, rank.make(Chooses))


def choosing_later(rank):
    model = rank.make(Chooses)
    model.sure = True
    for metrics in trained(rank, model):
        yield metrics
        model.sure = False
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(TRAININGS)
    for name in ("shown", "hidden", "choosing", "choosing_later"):
        spec = {
            "study": name,
            "data": {"name": "digits", "root": ".", "subset": 200},
            "model": {"name": "small_cnn"},
            "training": f"own:{name}",
            "space": {"epochs": 3, "batch_size": 50, "learning_rate": 0.05, "model.width": 4},
            "budget": {"trials": 1},
        }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    return place


def test_a_model_that_is_shown_is_registered_as_it_was_trained(folder: Path) -> None:
    """The look after the first epoch changes nothing: the same weights as without it."""
    registered: Any = run_json(folder, "train", "shown.yaml", "-o", "one", "--register", "mine")
    plain: Any = run_json(folder, "train", "shown.yaml", "-o", "other")
    assert registered["registered"]["uri"] == "models:/mine/1" and plain["registered"] is None
    assert registered["achieved"]["val_loss"] == plain["achieved"]["val_loss"]
    program = torch.export.load(io.BytesIO((folder / "one/model.pt2").read_bytes())).module()
    weights = load_file(folder / "other/model.safetensors")
    held = dict(program.named_parameters()) | dict(program.named_buffers())
    for name, value in weights.items():
        assert torch.equal(held[f"model.{name}"], value)
    assert program(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hidden", "let it make the model by rank.build_model(), or name it by rank.track(model)"),
        ("choosing", "torch.export can't take the model"),
    ],
)
def test_a_model_that_cannot_be_registered_is_told_after_the_first_epoch(folder: Path, name: str, why: str) -> None:
    """With the way out: to mend it, or to train without registering."""
    done = run(folder, "train", f"{name}.yaml", "-o", f"{name}-model", "--register", "never", code=2)
    said = " ".join(done.stderr.split())
    assert f"after the first epoch of own:{name} there is no model that can be registered" in said
    assert why in said and "leave --register out to train it all the same" in said and "epoch 2/3" not in said
    run(folder, "train", f"{name}.yaml", "-o", f"{name}-model")


def test_a_model_that_changes_until_it_cannot_be_registered_is_written_all_the_same(folder: Path) -> None:
    """Its weights were hours of work."""
    done = run(folder, "train", "choosing_later.yaml", "-o", "later", "--register", "never", code=1)
    said = " ".join(done.stderr.split())
    assert f"the model is trained and lies in {folder}/later, but is not registered: torch.export" in said
    assert "head.weight" in load_file(folder / "later/model.safetensors") and (folder / "later/README.md").is_file()
