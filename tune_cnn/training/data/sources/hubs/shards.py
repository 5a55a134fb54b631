"""Shards as webdataset writes them, `webdataset:PATTERN`: tar files on a disk, or on a web server by their address."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.spec.addresses import address_of
from tune_cnn.training.data.sources.folder.image_folder import DEFAULT_SIDE, LARGEST_CACHE_BYTES
from tune_cnn.training.data.sources.hubs.pictures import picture_key
from tune_cnn.training.data.sources.hubs.shard_names import files_of
from tune_cnn.training.data.sources.hubs.shard_source import DiskShard, Shard, ShardSource
from tune_cnn.training.data.sources.hubs.tar_samples import density_of
from tune_cnn.training.data.sources.packed.kept import Sizes, how_kept
from tune_cnn.training.data.sources.source import PARTS
from tune_cnn.untyped import Untyped


def webdataset(data: DataSpec, largest_cache_bytes: int = LARGEST_CACHE_BYTES) -> ShardSource:
    """The shards found, and the first one's beginning read. DataError where one is missing, or none is to train on."""
    address = address_of(data.name)
    shards: Sequence[Shard] = _on_disk(data) if address is None else _on_web().web_shards(data, address)
    if all(shard.part != "train" for shard in shards):
        pattern = data.name.partition(":")[2]
        raise DataError(f"data: no shard of {pattern} is of the training images; name it without val and test")
    side = data.image_size or DEFAULT_SIDE
    images, sizes = _about(shards, side, largest_cache_bytes)
    kept = how_kept(data.cache, sizes, "their shards" if address is None else "their shards' server")
    notes = [_counted(shards), *([kept.note] if kept.note else [])]
    if address is not None:
        notes += filter(None, [_on_web().unmarked(shards)])
        if kept.bypass:
            _on_web().check_parts(shards)
    kind = "none" if kept.bypass else kept.packing.shown if kept.packing else "pixels"
    return ShardSource(
        name=data.name,
        key=picture_key("webdataset", side, data.max_pixels, kind, [f"{s.part}|{s.state}" for s in shards]),
        shards=tuple(shards),
        images=images,
        side=side,
        max_pixels=data.max_pixels,
        kept=kept,
        notes=tuple(notes),
    )


def _on_web() -> Untyped:
    """Imported when an address is given: most sets need nothing that asks servers, and its import takes a while."""
    return import_module("tune_cnn.training.data.sources.hubs.web_shards")


def _on_disk(data: DataSpec) -> list[DiskShard]:
    return [
        DiskShard(path=path, part=part, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)
        for path, part in files_of(Path(data.root), data.name.partition(":")[2])
        for found in [path.stat()]
    ]


def _about(shards: Sequence[Shard], side: int, largest_bytes: int) -> tuple[int, Sizes]:
    """How many images there are, and what they take: as if all shards were like the beginning of the first."""
    beginning = shards[0].beginning()
    density = density_of(beginning, shards[0].shown)
    known = [shard.size_bytes for shard in shards if shard.size_bytes] or [len(beginning)]
    all_bytes = sum(known) / len(known) * len(shards)
    images = max(len(shards), round(all_bytes / density.shard_bytes))
    image_bytes = 3 * side * side
    return images, Sizes(
        pixels_bytes=images * image_bytes,
        jpeg_bytes=round(images * min(density.file_bytes, image_bytes)),
        largest_bytes=largest_bytes,
    )


def _counted(shards: Sequence[Shard]) -> str:
    held = ", ".join(f"{count} of {part}" for part in PARTS if (count := sum(shard.part == part for shard in shards)))
    return f"{len(shards)} shards: {held}, by the words of their names"
