"""Items on images that are kept as JPEGs and decoded where the model is."""

import time
from pathlib import Path

import torch
from PIL import Image
from rows import Row, Rows, Setup, item
from sklearn.datasets import load_sample_images

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.inspection.loaders import why_not_on_device

SIDE, WIDTH, HEIGHT = 224, 500, 375
LEVELS = 2.0  # of 256, in the mean over an image: what two decoders may differ by


@item(120, on_cpu=True)
def jpegs_on_device(setup: Setup) -> Rows:
    """The same images, shifted and mirrored alike, from the device's decoder as from the CPU's; how many a second."""
    device = torch.device("cuda" if setup.cuda else "cpu")
    root = _write_photographs(setup.folder / "photographs", 1024 if setup.cuda else 24)
    sets = prepare(
        DataSpec(name="image_folder", root=str(root), image_size=SIDE, max_shared=1.0, cache="jpeg"),
        split_seed=0,
        cache_dir=setup.folder / "cache",
    )
    if setup.cuda:
        why = why_not_on_device(sets.train, device)
        yield Row(what="the inspection", figure=why or "decodes", must_hold="decodes", held=why is None)
    loaders = [make_loader(_plan(sets, device), kind=kind, workers=0) for kind in ("device", "batched")]
    std = torch.tensor(sets.facts.std, device=device)[:, None, None]
    apart = [
        (255 * std * (ours.images_nchw - theirs.images_nchw)).abs().mean(dim=(1, 2, 3)).max().item()
        for ours, theirs in zip(*(loader.epoch(0) for loader in loaders), strict=True)
    ]
    figure = f"{max(apart):.2f} grey levels at most in {len(apart)} batches"
    yield Row(what="device against batched", figure=figure, must_hold=f"<= {LEVELS:.0f}", held=max(apart) <= LEVELS)
    if not setup.cuda:
        return
    for workers in (None, 0, 2, 4):
        kind = "device" if workers is None else "batched"
        loader = make_loader(_plan(sets, device), kind=kind, workers=workers or 0)
        try:
            loader.start()
            list(loader.epoch(0))
            torch.cuda.synchronize()
            began_s, count = time.perf_counter(), 0
            for batch in loader.epoch(1):
                count += len(batch.labels_n)
            torch.cuda.synchronize()
            rate = count / (time.perf_counter() - began_s)
        finally:
            loader.close()
        yield Row(what=kind if workers is None else f"batched, {workers} workers", figure=f"{rate:.0f} images/s")


def _write_photographs(root: Path, count: int) -> Path:
    """Pieces of 500 × 375 of scikit-learn's two photographs."""
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(count):
        photograph = photographs[number % 2]
        left, top = 7 * number % (photograph.width - WIDTH), 3 * number % (photograph.height - HEIGHT)
        path = root / "train" / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph.crop((left, top, left + WIDTH, top + HEIGHT)).save(path, quality=90)
    return root


def _plan(sets: ImageSets, device: torch.device) -> Plan:
    return Plan(
        images=sets.train,
        facts=sets.facts,
        batch_size=min(64, len(sets.train)),
        rank=0,
        ranks=1,
        seed=0,
        augment="crop_flip",
        device=device,
        channels_last=False,
    )
