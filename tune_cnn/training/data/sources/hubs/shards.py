"""Shards as webdataset writes them: tar files in which files of one name are a sample, 0001.jpg beside 0001.cls."""

import glob
import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.endings import IMAGE_ENDINGS
from tune_cnn.training.data.sources.folder.files import some
from tune_cnn.training.data.sources.folder.image_folder import DEFAULT_SIDE
from tune_cnn.training.data.sources.folder.part_names import KNOWN
from tune_cnn.training.data.sources.hubs.pictures import Picture, PictureSource, picture_key
from tune_cnn.training.data.sources.source import PARTS, PartName
from tune_cnn.training.data.sources.tables.columns import class_names

BRACES = re.compile(r"\{([^{}]+)\}")
LABELS = (".cls", ".txt")  # a class's number or name
BLOCK = 512  # bytes: of a tar's headers, and of the zeros that end it
LONGEST_LABEL = 1000  # bytes


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Where one image's bytes lie."""

    shard: Path
    key: str
    label: str
    start: int
    size: int


def webdataset(data: DataSpec) -> PictureSource:
    """The shards' headers and labels read; DataError names a shard that was cut, or what a sample lacks."""
    pattern = data.name.partition(":")[2]
    root = Path(data.root)
    shards = _shards(root, pattern)
    parts: dict[PartName, list[_Sample]] = {}
    for shard in shards:
        parts.setdefault(_part(shard, root), []).extend(_samples(shard))
    if "train" not in parts:
        raise DataError(f"data: no shard of {pattern} is of the training images; name it without val and test")
    classes = class_names([sample.label for samples in parts.values() for sample in samples])
    labels = {name: label for label, name in enumerate(classes)}
    side = data.image_size or DEFAULT_SIDE
    held = ", ".join(
        f"{sum(_part(shard, root) == part for shard in shards)} of {part}" for part in PARTS if part in parts
    )
    return PictureSource(
        name=data.name,
        key=picture_key("webdataset", side, [(str(s), s.stat().st_size, s.stat().st_mtime_ns) for s in shards]),
        images=sum(map(len, parts.values())),
        classes=tuple(map(printable, classes)),
        side=side,
        max_pixels=data.max_pixels,
        read={part: partial(_pictures, samples, labels) for part, samples in parts.items()},
        notes=(f"{len(shards)} shards: {held}, by the words of their names",),
    )


def _shards(root: Path, pattern: str) -> list[Path]:
    """In order; DataError where there are none, or one that braces name is missing."""
    if "://" in pattern:
        raise DataError(f"data: webdataset reads shards on a disk, got {pattern}; fetch them into data.root first")
    found: list[Path] = []
    for one in _expanded(pattern):
        whole = root / one
        here = sorted(map(Path, glob.glob(str(whole))))  # noqa: PTH207 - of a pattern that may begin at the root
        if not here:
            raise DataError(
                f"data: there is no shard {printable(str(whole))}; a pattern is found from data.root, as in "
                "webdataset:train-{0000..0009}.tar or webdataset:*.tar"
            )
        found += here
    return found


def _expanded(pattern: str) -> Iterator[str]:
    """{000..003} and {train,val} as a shell has them."""
    pieces = BRACES.split(pattern)
    choices = [[piece] if at % 2 == 0 else _choices(piece) for at, piece in enumerate(pieces)]
    return map("".join, itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if ends is None:
        return inside.split(",")
    return [str(number).zfill(len(ends[1])) for number in range(int(ends[1]), int(ends[2]) + 1)]


def _part(shard: Path, root: Path) -> PartName:
    """By the last word of its path within the root that names a part; else train."""
    within = str(shard.relative_to(root)) if shard.is_relative_to(root) else shard.name
    words = re.split("[^a-z]+", within.lower())
    return next((KNOWN[word] for word in reversed(words) if word in KNOWN), "train")


def _samples(shard: Path) -> list[_Sample]:
    """In the shard's order."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                key, ending = f"{folder}/{stem}", dot + ending.lower()
                if member.isfile() and ending in IMAGE_ENDINGS:
                    images[key] = (member.offset_data, member.size)
                elif member.isfile() and ending in LABELS and member.size <= LONGEST_LABEL:
                    file = tar.extractfile(member)
                    assert file is not None
                    labels[key] = file.read().decode("utf-8", "replace").strip()
            ended = tar.offset
        whole = shard.stat().st_size >= ended + BLOCK  # the zeros behind the last member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(_cut(shard, f"{type(error).__name__}: {error}")) from error
    if not whole:
        raise DataError(_cut(shard, "it ends without its last block"))
    lacking = [key.lstrip("/") for key in images if not labels.get(key)]
    if lacking or not images:
        what = f"{len(lacking)} images have no .cls or .txt: {some(lacking, 5)}" if lacking else "it holds no images"
        raise DataError(
            f"data: shard {printable(str(shard))}: {what}; write a class beside each image, as webdataset does"
        )
    return [
        _Sample(shard=shard, key=key.lstrip("/"), label=labels[key], start=start, size=size)
        for key, (start, size) in images.items()
    ]


def _cut(shard: Path, why: str) -> str:
    return f"data: shard {printable(str(shard))} was cut, or is no tar file ({why}); fetch it again"


def _pictures(samples: Sequence[_Sample], labels: dict[str, int]) -> Iterator[Picture]:
    for shard, group in itertools.groupby(samples, key=lambda sample: sample.shard):
        with shard.open("rb") as file:
            for sample in group:
                file.seek(sample.start)
                yield Picture(
                    content=file.read(sample.size), label=labels[sample.label], place=f"{shard}: {sample.key}"
                )
