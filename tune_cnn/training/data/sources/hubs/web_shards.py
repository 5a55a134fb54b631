"""Shards on a web server: fetched one by one into the cache, or read image by image."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.spec.addresses import PLAIN_OPTIONS
from tune_cnn.training.data.sources.hubs.shard_names import expanded, part_of_name
from tune_cnn.training.data.sources.hubs.tar_samples import BEGINNING
from tune_cnn.training.data.sources.hubs.web_files import (
    WebFile,
    fetch,
    first_bytes,
    look_up,
    no_parts,
    part_of_file,
)
from tune_cnn.training.data.sources.source import PartName
from tune_cnn.urls import shown_url

ASKED_AT_ONCE = 16  # shards that are looked up side by side
PIECES_AT_ONCE = 16  # that a process asks for: 320 images a second where an answer takes 50 ms


@dataclass(frozen=True, kw_only=True)
class WebShard:
    """As `DiskShard`."""

    file: WebFile
    part: PartName
    at_once: int = PIECES_AT_ONCE

    @property
    def shown(self) -> str:
        return self.file.shown

    @property
    def size_bytes(self) -> int:
        return self.file.length or 0

    @property
    def state(self) -> str:
        return f"{self.file.shown}|{self.file.etag}|{self.file.length}|{self.file.modified}"

    def beginning(self) -> bytes:
        return first_bytes(self.file, BEGINNING)[0]

    @contextmanager
    def whole(self, scratch: Path, /) -> Iterator[Path]:
        path = scratch / "shard.tar"
        try:
            with path.open("wb") as into:
                fetch(self.file, into)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def piece(self, start: int, size: int) -> bytes:
        return part_of_file(self.file, start, size)


def web_shards(data: DataSpec, address: str) -> list[WebShard]:
    """In order; DataError where one that braces name is missing, or the network may not be used."""
    if data.offline:
        raise DataError(
            f"data: {shown_url(address, PLAIN_OPTIONS)} is read over the network, and data.offline is true; set it to "
            "false, or fetch the shards and name them by their path"
        )
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        files = list(threads.map(look_up, expanded(address)))
    return [WebShard(file=file, part=part_of_name(urlsplit(file.url).path)) for file in files]


def unmarked(shards: Sequence[WebShard]) -> str:
    """A note on shards whose change can't be noticed; empty where there are none."""
    bare = [shard for shard in shards if not shard.file.etag and not shard.file.modified]
    if not bare:
        return ""
    told = "their length alone" if all(shard.file.length is not None for shard in bare) else "not even their length"
    return (
        f"of {len(bare)} shards the server tells neither ETag nor Last-Modified but {told}: should their images "
        "change, delete the cache"
    )


def check_parts(shards: Sequence[WebShard]) -> None:
    """DataError where the server sends nothing but whole files."""
    if not first_bytes(shards[0].file, 1)[1]:
        raise DataError(no_parts(shards[0].file))
