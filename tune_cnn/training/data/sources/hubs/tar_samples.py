"""The samples of one tar file as webdataset writes it: files of one name are a sample, 0001.jpg beside 0001.cls."""

import io
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tune_cnn.errors import DataError
from tune_cnn.training.data.sources.folder.files import ENDINGS, some

LABELS = (".cls", ".txt")  # a class's number or name
BLOCK = 512  # bytes: of a tar's headers, and of the zeros that end it
LONGEST_LABEL = 1000  # bytes
BEGINNING = 4 * 2**20  # bytes of a shard from which it is told how many images all hold: some dozens of photographs


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Where one image's bytes lie in its shard, and its class as it is written."""

    key: str
    label: str
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Density:
    """How many images the shards hold, told from the first bytes of one."""

    shard_bytes: float  # of a shard, for each image
    file_bytes: float  # of an image's file


def samples_of(path: Path, shown: str) -> list[Sample]:
    """In the shard's order. DataError, naming it as `shown`, where it was cut, or what a sample lacks."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            ended = _read(file, images, labels)
            whole = file.seek(0, io.SEEK_END) >= ended + BLOCK  # the zeros behind the last member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(_cut(shown, f"{type(error).__name__}: {error}")) from error
    if not whole:
        raise DataError(_cut(shown, "it ends without its last block"))
    lacking = [key.lstrip("/") for key in images if not labels.get(key)]
    if lacking or not images:
        what = f"{len(lacking)} images have no .cls or .txt: {some(lacking, 5)}" if lacking else "it holds no images"
        raise DataError(f"data: shard {shown}: {what}; write a class beside each image, as webdataset does")
    return [
        Sample(key=key.lstrip("/"), label=labels[key], start=start, size=size) for key, (start, size) in images.items()
    ]


def density_of(beginning: bytes, shown: str) -> Density:
    """Of a shard's first bytes, BEGINNING or all; DataError where they are no tar."""
    try:
        tarfile.open(fileobj=io.BytesIO(beginning), mode="r:").close()  # reads the first header
    except tarfile.TarError as error:
        raise DataError(_cut(shown, f"{type(error).__name__}: {error}")) from error
    images: dict[str, tuple[int, int]] = {}
    ended = len(beginning)
    with suppress(tarfile.TarError):  # it goes on behind these bytes, or is told to be cut when it is read
        ended = _read(io.BytesIO(beginning), images, {})
    if not images:  # one image takes more than all of it, or the rest of the shard will tell what is wrong
        return Density(shard_bytes=max(len(beginning), 1), file_bytes=max(len(beginning), 1))
    sizes = [size for _, size in images.values()]
    return Density(shard_bytes=ended / len(images), file_bytes=sum(sizes) / len(sizes))


def _read(file: BinaryIO, images: dict[str, tuple[int, int]], labels: dict[str, str]) -> int:
    """Fill both by the samples' names; where the last member ends."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, dot, ending = name.partition(".")
            key, ending = f"{folder}/{stem}", dot + ending.lower()
            if member.isfile() and ending in ENDINGS:
                images[key] = (member.offset_data, member.size)
            elif member.isfile() and ending in LABELS and member.size <= LONGEST_LABEL:
                content = tar.extractfile(member)
                assert content is not None
                labels[key] = content.read().decode("utf-8", "replace").strip()
        return int(tar.offset)


def _cut(shown: str, why: str) -> str:
    return f"data: shard {shown} was cut, or is no tar file ({why}); fetch it again, or write it anew"
