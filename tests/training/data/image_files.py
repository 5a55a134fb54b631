"""Data sets on disk, made small, in the formats that the readers expect."""

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.prepare import prepare


def prepared(tmp_path: Path, name: str = "digits", *, seed: int = 0, all_data: bool = False, **spec) -> ImageSets:
    spec = {"root": str(tmp_path / "root"), "offline": True} | spec
    return prepare(DataSpec(name=name, **spec), split_seed=seed, cache_dir=tmp_path / "cache", all_data=all_data)


def write_image(path: Path, seed: int, *, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_folder(root: Path, *, per_class: int = 6, parts: tuple[str, ...] = ("train",)) -> Path:
    """Two classes of JPEG and PNG files of different sizes and modes."""
    for part in parts:
        for label, name in enumerate(("cat", "dog")):
            for number in range(per_class):
                seed = 100 * label + number + 1000 * len(part)
                kind, mode = ((".jpg", "RGB"), (".png", "RGBA"), (".PNG", "L"))[number % 3]
                write_image(root / part / name / f"{number}{kind}", seed, size=(20 + number, 30 - number), mode=mode)
    return root


def photograph(number: int = 0) -> Image.Image:
    """427 × 640, of scikit-learn's two: a temple, and a flower."""
    return Image.fromarray(load_sample_images().images[number])


def write_photographs(root: Path, count: int = 12) -> Path:
    """Two classes of JPEGs, in train/ alone; each a piece of its own."""
    for number in range(count):
        image = photograph(number % 2).crop((20 * number, 5 * number, 20 * number + 200, 5 * number + 150))
        path = root / "train" / ("temple", "flower")[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    return root


def write_fashion_mnist(root: Path, *, train: int = 60, test: int = 20, zipped: bool = False) -> None:
    """The four files of Fashion-MNIST in IDX format (big-endian sizes behind a magic number), every class in turn."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, content in (
            (f"{prefix}-images-idx3-ubyte", struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes()),
            (f"{prefix}-labels-idx1-ubyte", struct.pack(">II", 2049, count) + labels.tobytes()),
        ):
            if zipped:
                (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (raw / name).write_bytes(content)


def plan_of(sets: ImageSets) -> Plan:
    """Of small batches, on the CPU."""
    return Plan(
        images=sets.train,
        facts=sets.facts,
        batch_size=4,
        rank=0,
        ranks=1,
        seed=0,
        augment="crop_flip",
        device=torch.device("cpu"),
        channels_last=False,
    )
