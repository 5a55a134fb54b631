"""Folders of small pictures that a net can tell apart, and the spec that searches them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def picture(label: int, number: int, side: int = 20) -> Image.Image:
    """Dark noise of its own, with a bright stripe at its class's height."""
    random = np.random.default_rng([label, number])
    shades = random.integers(0, 60, (side, side, 3), dtype=np.uint8)
    top = (label * side // 4) % side
    shades[top : top + side // 5] = 200
    return Image.fromarray(shades)


def write_folder(
    root: Path,
    parts: Sequence[str] = ("train",),
    classes: Sequence[str] = CLASSES,
    per_class: int = 20,
    ending: str = "png",
) -> Path:
    """root/part/class/number.ending, no two pictures alike."""
    for at, part in enumerate(parts):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for number in range(per_class):
                picture(label, 500 * at + number).save(root / part / name / f"{number}.{ending}")
    return root


def spec_of(root: Path, **data: Any) -> dict[str, Any]:
    """A search of two short trials over that folder, as YAML gives it; `data` adds keys under data."""
    return {
        "study": "pictures",
        "data": {"name": "image_folder", "root": str(root), "image_size": 16, **data},
        "model": {"name": "small_cnn"},
        "space": {"epochs": 2, "batch_size": [8, 16], "learning_rate": 0.05, "model.width": 4},
        "resources": {"cpus_per_trial": 1, "slots": 1},
        "budget": {"trials": 2},
    }
