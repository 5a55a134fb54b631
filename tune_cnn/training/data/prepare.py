"""From a spec's `data` to checked, decoded, split images."""

import functools
import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np

from tune_cnn.files import write_whole
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache import Entry, cached
from tune_cnn.training.data.cache_writer import PLACES
from tune_cnn.training.data.check_labels import check_labels
from tune_cnn.training.data.check_looks import check_blank, check_shared
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet, ImageSets
from tune_cnn.training.data.readers import CacheReader, Int64, Reader
from tune_cnn.training.data.sources.packed.file import PackReader
from tune_cnn.training.data.sources.registry import find_source
from tune_cnn.training.data.sources.source import PartName, Source, places_of
from tune_cnn.training.data.split import stratified_split, stratified_subset
from tune_cnn.training.data.statistics import joined_sums, split_sums

TEST, SUBSET, VALIDATION = range(3)  # each draw has a stream of its own, so that one doesn't shift another
PREPARED = 4  # sets that a warm process keeps: maps and indices, no pixels


def prepare(data: DataSpec, *, split_seed: int, cache_dir: str | Path, all_data: bool = False) -> ImageSets:
    """Find, check, decode (once per node) and split; the same object again where nothing has changed.

    `split_seed` is the study's. With `all_data` the validation images are trained on too. DataError says what is
    wrong with the images, the labels or the spec.
    """
    return _prepare(data, split_seed, Path(cache_dir).absolute(), all_data)


@functools.lru_cache(maxsize=PREPARED)
def _prepare(data: DataSpec, split_seed: int, cache_dir: Path, all_data: bool) -> ImageSets:
    source = find_source(data, split_seed)
    entry = cached(source, cache_dir)
    check_labels(entry, source.name)
    rows, notes = _split(data, entry, source, split_seed)
    place = partial(_place, source, entry)
    notes += [*check_blank(entry, rows, data, place), *check_shared(entry, rows, data, place)]
    if all_data:
        rows["train"] = np.sort(np.concatenate([rows["train"], rows["validation"]]))
        notes.append("the validation images are trained on too: their metrics are no measure of accuracy on new images")
    mean, std = _mean_std(entry, rows["train"], source.image_shape)
    facts = DataFacts(
        name=source.name,
        num_classes=len(entry.classes),
        in_channels=source.image_shape[0],
        image_size=(source.image_shape[1], source.image_shape[2]),
        train_images=len(rows["train"]),
        validation_images=len(rows["validation"]),
        test_images=len(rows["test"]),
        classes=entry.classes,
        key=entry.key,
        mean=mean,
        std=std,
        notes=(*source.notes, *entry.notes, *notes, *([source.bypass] if source.bypass else [])),
    )
    reader = _reader(source, entry)
    cache_is_source = isinstance(reader, CacheReader | PackReader)
    return ImageSets(
        facts=facts,
        **{name: _image_set(name, rows[name], entry, reader, cache_is_source) for name in rows},
    )


def _reader(source: Source, entry: Entry) -> Reader:
    """Of a packed set its file; else of the source, or of the cache where the source has none."""
    if entry.sums_nc2 is not None:
        return PackReader(entry.folder, source.image_shape[1])
    if placed := places_of(source):
        return placed.reader_by(entry.folder / PLACES)
    reader = source.reader(entry.depth)
    if reader is None:
        assert entry.path is not None, "only a source with a reader can bypass the cache"
        return CacheReader(entry.path)
    return reader


def _image_set(name: PartName, rows: Int64, entry: Entry, reader: Reader, cache_is_source: bool) -> ImageSet:
    return ImageSet(
        name=name,
        indices=rows,
        labels_n=entry.labels_n[rows],
        images=entry.images,
        path=entry.path,
        reader=reader,
        rows=rows if cache_is_source else entry.rows_n[rows],
    )


def _place(source: Source, entry: Entry, row: int) -> str:
    """Where a row of the cache comes from."""
    part, start = next((name, start) for name, (start, stop) in entry.parts.items() if start <= row < stop)
    return source.place(int(entry.rows_n[row])) or f"{part}[{row - start}]"


def _split(data: DataSpec, entry: Entry, source: Source, split_seed: int) -> tuple[dict[PartName, Int64], list[str]]:
    """Rows of the cache for each part, ascending: what the set brings, else held out of its training images."""
    given = {name: np.arange(start, stop, dtype=np.int64) for name, (start, stop) in entry.parts.items()}
    train, notes = given["train"], []
    classes = entry.classes
    if "test" not in given:
        labels_n = entry.labels_n[train]
        kept, held = stratified_split(
            labels_n, data.test, (split_seed, TEST), classes=classes, what="test", equal_n=_equal(entry, train)
        )
        train, given["test"] = train[kept], train[held]
        notes.append(f"{source.name} has no test images: {len(held)} were split off for testing, by seed and class")
    if data.subset is not None:
        drawn = stratified_subset(entry.labels_n[train], data.subset, (split_seed, SUBSET), classes=classes)
        notes.append(f"{len(drawn)} of {len(train)} training images are used (data.subset), drawn by seed and class")
        train = train[drawn]
    if "validation" not in given:
        labels_n = entry.labels_n[train]
        kept, held = stratified_split(
            labels_n, data.validation, (split_seed, VALIDATION), classes=classes, equal_n=_equal(entry, train)
        )
        train, given["validation"] = train[kept], train[held]
    return {"train": train, "validation": given["validation"], "test": given["test"]}, notes


def _equal(entry: Entry, rows: Int64) -> Int64 | None:
    """A number for each of these images that equal ones share; blank ones, equal by nature, have each their own."""
    if entry.looks is None:
        return None
    alone = entry.looks.constant_n[rows]
    _, numbers = np.unique(entry.looks.contents_n[rows], return_inverse=True)
    return np.where(alone, len(rows) + np.arange(len(rows)), numbers)


def _mean_std(
    entry: Entry, train: Int64, image_shape: tuple[int, int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the training split; kept beside the images, as counting them takes a while for a large set."""
    if entry.sums_nc2 is not None:
        _, height, width = image_shape
        return joined_sums(entry.sums_nc2[train], height * width).mean_std()
    if entry.images is None:
        assert entry.sample is not None, "a set that isn't cached brings a sample"
        return entry.sample
    which = hashlib.sha256(train.tobytes()).hexdigest()[:16]
    path = entry.folder / f"statistics-{which}.json"
    try:
        mean, std = json.loads(path.read_text())
        return tuple(map(float, mean)), tuple(map(float, std))
    except (OSError, ValueError, TypeError):  # not counted yet, or damaged
        mean_std = split_sums(entry.images, train).mean_std()
        write_whole(path, json.dumps(mean_std))
        return mean_std
