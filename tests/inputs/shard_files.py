"""Shards as webdataset writes them, made small: images of noise and pieces of a photograph, of two classes."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import BatchLoader, Plan
from tune_cnn.training.data.loaders.registry import make_loader


def encoded(seed: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def photograph(number: int) -> bytes:
    """A JPEG of a piece of its own of one of scikit-learn's two."""
    piece = load_sample_images().images[number % 2][5 * number : 5 * number + 150, 20 * number : 20 * number + 200]
    out = io.BytesIO()
    Image.fromarray(piece).save(out, "JPEG", quality=90)
    return out.getvalue()


def write_shard(path: Path, samples: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, count: int, label: str = ".cls") -> dict[str, bytes]:
    """Two files a sample, of two classes; beside them what others write too."""
    found = {}
    for n in range(first, first + count):
        found |= {f"{n:04d}.png": encoded(n), f"{n:04d}{label}": f"{n % 2}".encode(), f"{n:04d}.json": b"{}"}
    return found


def photographs(first: int, count: int) -> dict[str, bytes]:
    """Classes by their names, the later one first."""
    found = {}
    for n in range(first, first + count):
        found |= {f"{n:04d}.jpg": photograph(n), f"{n:04d}.txt": (b"temple", b"flower")[n % 2]}
    return found


def delivered(
    sets: ImageSets, kind: str, workers: int, *, facts: DataFacts, rank: int = 0, ranks: int = 1
) -> torch.Tensor:
    """All images of an epoch, in the order in which a loader gives them; by the mean and deviation of `facts`."""
    loader = loader_of(sets, kind, workers, facts=facts, rank=rank, ranks=ranks)
    try:
        return torch.cat([batch.images_nchw for batch in loader.epoch(0)])
    finally:
        loader.close()


def loader_of(
    sets: ImageSets, kind: str, workers: int, *, facts: DataFacts, rank: int = 0, ranks: int = 1
) -> BatchLoader:
    """Of batches of four training images."""
    plan = Plan(
        images=sets.train,
        facts=facts,
        batch_size=4,
        rank=rank,
        ranks=ranks,
        seed=0,
        augment="crop_flip",
        device=torch.device("cpu"),
        channels_last=False,
    )
    return make_loader(plan, kind=kind, workers=workers)
