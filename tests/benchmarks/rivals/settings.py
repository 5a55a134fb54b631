"""What a rival is asked to do: the same file for all of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    root: str  # of Fashion-MNIST, as torchvision lays it out
    split: str  # .npz with the positions `train` and `validation` in the training images: those that tune_cnn uses
    epochs: int
    trials: int
    seconds: float  # the search ends after them, or after its trials
    slots: int
    seed: int  # of the search, the training and, as the split was drawn by it, of `ours`' images
    space: dict[str, Any]  # a list is a choice, {low, high} a range on a log scale
    tracking_uri: str
    training: str  # stock: torchvision and a DataLoader, as the documentation shows it; ours: tune_cnn's, no Ray

    @classmethod
    def read(cls, path: str) -> "Settings":
        return cls(**json.loads(Path(path).read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)))
