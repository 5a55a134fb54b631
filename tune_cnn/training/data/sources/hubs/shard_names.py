"""Which files a pattern of shards names, and of which part each is, by the words of its name."""

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.layout import KNOWN
from tune_cnn.training.data.sources.source import PartName

BRACES = re.compile(r"\{([^{}]+)\}")


def expanded(pattern: str) -> Iterator[str]:
    """{000..003} and {train,val} as a shell has them."""
    pieces = BRACES.split(pattern)
    choices = [[piece] if at % 2 == 0 else _choices(piece) for at, piece in enumerate(pieces)]
    return map("".join, itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if ends is None:
        return inside.split(",")
    return [str(number).zfill(len(ends[1])) for number in range(int(ends[1]), int(ends[2]) + 1)]


def part_of_name(name: str) -> PartName:
    """By the last word that names a part; else train."""
    words = re.split("[^a-z]+", name.lower())
    return next((KNOWN[word] for word in reversed(words) if word in KNOWN), "train")


def files_of(root: Path, pattern: str) -> list[tuple[Path, PartName]]:
    """In order; DataError where there are none, or one that braces name is missing."""
    found: list[Path] = []
    for one in expanded(pattern):
        whole = root / one
        here = sorted(map(Path, glob.glob(str(whole))))  # noqa: PTH207 - of a pattern that may begin at the root
        if not here:
            raise DataError(
                f"data: there is no shard {printable(str(whole))}; a pattern is found from data.root, as in "
                "webdataset:train-{0000..0009}.tar or webdataset:*.tar"
            )
        found += here
    return [
        (file, part_of_name(str(file.relative_to(root)) if file.is_relative_to(root) else file.name)) for file in found
    ]
