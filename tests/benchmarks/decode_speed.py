"""Goal of issue 21: images of a JPEG folder delivered a second, at least three times torchvision's with Pillow.

    nice -n -15 python tests/benchmarks/decode_speed.py --out decode_speed.json

2,000 photographs of 500 × 375, cut at random from scikit-learn's and scikit-image's (mirrored, brighter or darker), as
JPEGs of quality 90; delivered as normalised float32 batches at 224², nothing trained on. The rival is torchvision's
ImageFolder through torch's DataLoader with 0, 1 and 2 workers, in two ways: ToTensor and Normalize an image, as its
recipes have it, or PILToTensor and whole batches normalised by torch; a third, no rival, has our Normaliser. Ours is
image_folder with `data.cache` jpeg and small_jpeg. All take turns within each repeat; the clock runs from the first
batch to the last. Beside it: by how much our images differ from Pillow's.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from measured import machine, save, show, spread
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.folder.image_file import Decoding

SIDE, BATCH, CLASSES = 224, 64, 10
WIDTH, HEIGHT = 500, 375
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
WORKERS = (0, 1, 2)
KINDS = ("jpeg", "small_jpeg")
AN_IMAGE, WHOLE_BATCHES = "Pillow, ToTensor and Normalize", "Pillow, whole batches normalised"
OUR_NORMALISER = "Pillow and our Normaliser"
COMPARED = 100  # images whose pixels are held against Pillow's

Runs = dict[str, list[float]]  # images a second, by system


def write_photographs(root: Path, count: int) -> None:
    """root/train/class/number.jpg, each different from all others."""
    known = [*load_sample_images().images, *(getattr(skimage.data, name)() for name in PHOTOGRAPHS)]
    photographs = [Image.fromarray(pixels[..., :3]) for pixels in known]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = photographs[number % len(photographs)]
        scale = max(WIDTH / image.width, HEIGHT / image.height) * rng.uniform(1.0, 1.3)
        image = image.resize(
            (round(image.width * scale) + 1, round(image.height * scale) + 1), Image.Resampling.BICUBIC
        )
        left, top = rng.integers(0, image.width - WIDTH + 1), rng.integers(0, image.height - HEIGHT + 1)
        image = image.crop((left, top, left + WIDTH, top + HEIGHT)).point(_brighter(rng.uniform(0.7, 1.3)))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        path = root / "train" / str(number % CLASSES) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def _brighter(factor: float) -> list[int]:
    return [min(255, round(shade * factor)) for shade in range(256)] * 3


@dataclass(frozen=True, kw_only=True)
class Folder:
    root: Path
    sets: dict[str, ImageSets]  # by data.cache
    images: int  # delivered a run, at most

    def rival(self, workers: int, way: str) -> float:
        """As torchvision's documentation has it."""
        facts = self.sets[KINDS[0]].facts
        to_tensor = (
            [transforms.ToTensor(), transforms.Normalize(facts.mean, facts.std)]
            if way == AN_IMAGE
            else [transforms.PILToTensor()]
        )
        steps = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), *to_tensor]
        loader = DataLoader(
            datasets.ImageFolder(self.root / "train", transform=transforms.Compose(steps)),
            BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
        )
        batches = (images_nchw for images_nchw, _ in loader)
        if way == OUR_NORMALISER:
            normalise = Normaliser(facts.mean, facts.std, torch.device("cpu"), False)
            return self._rate(normalise(images_nchw) for images_nchw in batches)
        if way == WHOLE_BATCHES:
            mean, std = (torch.tensor(values)[:, None, None] for values in (facts.mean, facts.std))
            scale, offset = 1 / (255 * std), -mean / std
            return self._rate(images_nchw.float().mul_(scale).add_(offset) for images_nchw in batches)
        return self._rate(batches)

    def ours(self, kind: str, loader_kind: str, workers: int) -> float:
        plan = Plan(
            images=self.sets[kind].train,
            facts=self.sets[kind].facts,
            batch_size=BATCH,
            rank=0,
            ranks=1,
            seed=0,
            augment="none",
            device=torch.device("cpu"),
            channels_last=False,
        )
        loader = make_loader(plan, kind=loader_kind, workers=workers)  # type: ignore[arg-type]  # one of its values
        try:
            loader.start()
            return self._rate(batch.images_nchw for batch in loader.epoch(0))
        finally:
            loader.close()

    def _rate(self, batches: Iterable[torch.Tensor]) -> float:
        """From the first batch to the last of those asked for."""
        coming: Iterator[torch.Tensor] = islice(batches, self.images // BATCH)
        assert next(coming).dtype == torch.float32
        began_s, delivered = time.perf_counter(), 0
        for images_nchw in coming:
            delivered += len(images_nchw)
        return delivered / (time.perf_counter() - began_s)

    def differences(self, kind: str) -> list[float]:
        """Of each of some images, the mean difference from Pillow's in grey levels."""
        part, decoding = self.sets[kind].train, Decoding(side=SIDE, max_pixels=10**9)
        paths = sorted((self.root / "train").rglob("*.jpg"), key=lambda path: str(path.relative_to(self.root)))
        found = []
        for at in np.linspace(0, len(part) - 1, min(COMPARED, len(part))).astype(int):
            ours = part.fetch(np.array([at]))[0].astype(np.int16)
            found.append(float(np.abs(ours - decoding.decode(paths[int(part.rows[at])])).mean()))
        return found


def systems_of(folder: Folder, loader: str) -> dict[str, Callable[[], float]]:
    found: dict[str, Callable[[], float]] = {}
    for workers in WORKERS:
        for way in (AN_IMAGE, WHOLE_BATCHES, OUR_NORMALISER):
            found[f"{way}, {workers} workers"] = partial(folder.rival, workers, way)
        for kind in KINDS:
            found[f"{kind}, {workers} workers"] = partial(folder.ours, kind, loader, workers)
    return found


def table(found: Runs) -> list[dict[str, Any]]:
    """Ratios are those of each repeat, to whichever of Pillow's systems was the fastest in it; without and with those
    that our Normaliser helps."""
    best = _best_of(found, "Pillow, ")
    helped = _best_of(found, "Pillow")
    return [
        {
            "system": name,
            "n": len(rates),
            "images/s": spread(rates, 0),
            "of the best Pillow": spread([rate / top for rate, top in zip(rates, best, strict=True)]),
            "with our Normaliser": spread([rate / top for rate, top in zip(rates, helped, strict=True)]),
        }
        for name, rates in found.items()
    ]


def _best_of(found: Runs, begin: str) -> list[float]:
    return [max(rates) for rates in zip(*(found[name] for name in found if name.startswith(begin)), strict=True)]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=2000, help="in the folder")
    parser.add_argument("--images", type=int, default=1024, help="delivered by each system a repeat")
    parser.add_argument("--loader", choices=["batched", "stream"], default="batched")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the photographs are, or are made and kept")
    parser.add_argument("--out", type=Path, default=Path("decode_speed.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    about = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        root = (asked.folder or Path(scratch) / "photographs").absolute()
        if not root.exists():
            write_photographs(root, asked.photographs)
        cache = root.with_name(f"{root.name}.cache")
        sets = {
            kind: prepare(
                DataSpec(name="image_folder", root=str(root), image_size=SIDE, max_shared=1.0, cache=kind),  # type: ignore[arg-type]  # one of its values
                split_seed=0,
                cache_dir=cache,
            )
            for kind in KINDS
        }
        folder = Folder(root=root, sets=sets, images=asked.images)
        pixels = {kind: folder.differences(kind) for kind in KINDS}
        systems = systems_of(folder, asked.loader)
        found: Runs = {name: [] for name in systems}
        names = list(systems)
        for repeat in range(asked.repeats):
            for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
                found[name].append(systems[name]())
            rows = table(found)
            save(asked.out, {"machine": about, "runs": found, "differences": pixels, "table": rows})
    show(rows)
    for kind, differences in pixels.items():
        print(f"{kind}: differs from Pillow by {spread(differences)} grey levels in an image's mean")


if __name__ == "__main__":
    main()
