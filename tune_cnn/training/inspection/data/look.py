"""A study's images in numbers: parts, classes, sizes and modes of the files, what is broken, blank or there twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec, StudySpec
from tune_cnn.training.data.cache import Entry, cached
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.sources.folder.image_folder import FolderSource
from tune_cnn.training.data.sources.registry import find_source
from tune_cnn.training.data.sources.source import PARTS, InFewFiles, Source
from tune_cnn.training.images_for_model import prepare_for
from tune_cnn.training.inspection.data.imbalance import imbalance
from tune_cnn.training.inspection.data.sheet import contact_sheet, png, strips
from tune_cnn.untyped import Plain

LOOKED_AT = 2000  # files whose heads are opened for their sizes and modes
SHOWN = 8  # sizes in the answer: the most frequent ones


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The document, and images of each class: together in one PNG with names, and a PNG a class of the first ones."""

    document: dict[str, Plain]
    sheet_png: bytes
    strips_png: tuple[bytes, ...]


def look_at_data(spec: StudySpec, cache_dir: Path) -> Seen:
    """DataError where nothing can be shown; where a search alone would refuse the images, `refused` says why."""
    refused = None
    data = spec.data
    try:
        images = _prepared(spec, data, cache_dir)
    except DataError as error:
        refused = str(error)
        data = data.model_copy(update={"max_broken": 2**31, "max_blank": 1.0, "max_shared": 1.0})
        try:
            images = _prepared(spec, data, cache_dir)
        except DataError:
            raise error from None
    source = find_source(data, spec.seed)
    entry = cached(source, cache_dir) if not source.bypass else None
    labels = {part: getattr(images, part).labels_n for part in PARTS}
    counts = {part: np.bincount(labels[part], minlength=images.facts.num_classes).tolist() for part in PARTS}
    document = {
        "data": spec.data.name,
        "root": spec.data.root,
        "refused": refused,
        "images": {part: len(labels[part]) for part in PARTS},
        "shape": list(images.facts.image_shape),
        "classes": [
            {"name": name, **{part: counts[part][label] for part in PARTS}}
            for label, name in enumerate(images.facts.classes)
        ],
        "imbalance": imbalance(counts["train"]),
        "files": _files(source),
        "broken": None if entry is None else _left_out(source, entry),
        **_looks(entry),
        "mean": list(images.facts.mean),
        "std": list(images.facts.std),
        "notes": list(images.facts.notes),
    }
    rows = strips(images)
    return Seen(
        document=document,
        sheet_png=png(contact_sheet(rows, len(images.facts.classes))),
        strips_png=tuple(png(row.image) for row in rows),
    )


def _prepared(spec: StudySpec, data: DataSpec, cache_dir: Path) -> ImageSets:
    return prepare_for(spec.model, data, split_seed=spec.seed, cache_dir=cache_dir)


def _left_out(source: Source, entry: Entry) -> int:
    """None of shards, of which every image must be readable."""
    return 0 if isinstance(source, InFewFiles) else source.images - len(entry.labels_n)


def _looks(entry: Entry | None) -> dict[str, Plain]:
    """Blank images, and those equal to one before them; None where the images aren't kept."""
    if entry is None or entry.looks is None:
        return {"blank": None, "duplicates": None}
    constant_n = entry.looks.constant_n
    seen = entry.looks.contents_n[~constant_n]
    return {"blank": int(constant_n.sum()), "duplicates": len(seen) - len(np.unique(seen))}


def _files(source: Source) -> dict[str, Plain] | None:
    """Sizes and modes of a folder's or a table's files, as their heads say; None for what has no files."""
    if not isinstance(source, FolderSource):
        return None
    every = max(1, len(source.files) // LOOKED_AT)
    heads = [_head(source, file.path) for file in source.files[::every]]
    known = [head for head in heads if head is not None]
    sizes, modes = Counter(head[:2] for head in known), Counter(head[2] for head in known)
    return {
        "looked_at": len(heads),
        "of": len(source.files),
        "sizes": [{"width": w, "height": h, "files": n} for (w, h), n in sizes.most_common(SHOWN)],
        "different_sizes": len(sizes),
        "smallest": _size(min(sizes, key=lambda size: size[0] * size[1])) if sizes else None,
        "largest": _size(max(sizes, key=lambda size: size[0] * size[1])) if sizes else None,
        "modes": [{"mode": mode, "files": n} for mode, n in modes.most_common()],
    }


def _size(size: Sequence[int]) -> dict[str, Plain]:
    return {"width": size[0], "height": size[1]}


def _head(source: FolderSource, path: str) -> tuple[int, int, str] | None:
    """None of what is no image: it is counted as broken."""
    try:
        with source.decoding.open(source.root / path) as image:
            return image.width, image.height, str(image.mode)
    except Exception:  # Pillow raises many kinds
        return None
