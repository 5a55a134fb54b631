"""Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN: their files found, downloaded and read.

torchvision reads them (torchvision_readers.py), imported only when there is something to read: it takes 4 s, which
every slot would pay at its start although the images are in the cache.
"""

import hashlib
import tempfile
from importlib import import_module
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.training.data.files import locked
from tune_cnn.training.data.sources.arrays import Arrays, ArraySource, array_key
from tune_cnn.training.data.sources.published_sets import KNOWN, PublishedSet
from tune_cnn.untyped import Untyped


def torchvision_set(name: str, root: Path, side: int | None, offline: bool) -> ArraySource:
    """Find the raw files, or download them; decoding waits until the cache asks."""
    known = KNOWN[name]
    if not _present(known, root):
        if offline:
            raise DataError(
                f"data: {name} isn't in {root}, and data.offline forbids the download; {_what_to_put(known, root)}"
            )
        _download(name, known, root)
    channels, height, width = known.image_shape
    return ArraySource(
        name=name,
        key=array_key(name, side, _content(_present(known, root))),
        images=known.images,
        image_shape=(channels, side, side) if side else (channels, height, width),
        classes=known.classes,
        side=side,
        read=lambda: _read(name, known, root),
    )


def _present(known: PublishedSet, root: Path) -> list[Path]:
    """The unpacked files, else the archives, where all of them are there; else nothing."""
    for names in (known.files, known.archives):
        paths = [root / name for name in names]
        try:
            if paths and all(path.is_file() for path in paths):
                return paths
        except OSError as error:  # a folder that this user may not enter
            raise DataError(f"data: {root} can't be looked into: {error.strerror or error}") from error
    return []


def _content(paths: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _what_to_put(known: PublishedSet, root: Path) -> str:
    archives = f", or {', '.join(known.archives)}" if known.archives else ""
    return f"put {', '.join(known.files)}{archives} (from {known.where}) into {root}"


def _download(name: str, known: PublishedSet, root: Path) -> None:
    """By torchvision, one process at a time: the others find the files when their turn comes."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        read = _readers().READERS[name]
        with locked(root / f".{name}.lock"):
            if not _present(known, root):
                for train in (True, False):
                    read(root, train, True)
    except Exception as error:  # urllib's, the file system's or torchvision's bare RuntimeError
        why = " ".join(f"{type(error).__name__}: {error}".split())  # torchvision's are of several lines
        raise DataError(
            f"data: {name} isn't in {root} and couldn't be downloaded ({why}); {_what_to_put(known, root)}"
        ) from error
    if not _present(known, root):
        raise DataError(f"data: {name} isn't complete in {root} after its download; {_what_to_put(known, root)}")


def _read(name: str, known: PublishedSet, root: Path) -> Arrays:
    paths = _present(known, root)
    try:
        if paths != [root / file for file in known.files]:
            return _read_archives(name, known, root)
        read = _readers().READERS[name]
        return {"train": read(root, True, False), "test": read(root, False, False)}
    except DataError:
        raise
    except Exception as error:  # torchvision's bare RuntimeError, pickle's, zlib's, scipy's …
        raise DataError(
            f"data: {name} in {root} can't be read ({type(error).__name__}: {error}); the files are damaged: "
            f"delete them and {_what_to_put(known, root)}"
        ) from error


def _read_archives(name: str, known: PublishedSet, root: Path) -> Arrays:
    """Unpack aside: data.root may be shared, or not writable."""
    with tempfile.TemporaryDirectory(prefix="tune_cnn-") as folder:
        for archive in known.archives:
            target = (Path(folder) / archive).parent
            target.mkdir(parents=True, exist_ok=True)
            _readers().extract_archive(root / archive, target)
        read, aside = _readers().READERS[name], Path(folder)
        return {"train": read(aside, True, False), "test": read(aside, False, False)}


def _readers() -> Untyped:
    return import_module("tune_cnn.training.data.sources.torchvision_readers")
