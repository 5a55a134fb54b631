"""Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN: what is published of them, and their files.

torchvision reads them (torchvision_readers.py), imported only when there is something to read: it takes 4 s, which
every slot would pay at its start although the images are in the cache.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.training.data.files import locked
from tune_cnn.training.data.sources.arrays import Arrays, ArraySource, array_key
from tune_cnn.untyped import Untyped


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """What is published about a set; `files` are relative to data.root."""

    files: tuple[str, ...]
    archives: tuple[str, ...]  # any of these in place of `files`: torchvision unpacks them
    where: str  # from which they come
    images: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IDX_FILES = tuple(f"FashionMNIST/raw/{name}" for name in _IDX)
_CIFAR10_FILES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")
_DIGITS = tuple(str(digit) for digit in range(10))

# In the order of the labels; the reader's own list is held against it.
CIFAR100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
    "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
    "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid "
    "otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
    "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle "
    "wardrobe whale willow_tree wolf woman worm"
)
CIFAR100_CLASSES = tuple(CIFAR100_NAMES.split())

KNOWN: dict[str, PublishedSet] = {
    "fashion_mnist": PublishedSet(
        files=_IDX_FILES,
        archives=tuple(f"{file}.gz" for file in _IDX_FILES),
        where="https://github.com/zalandoresearch/fashion-mnist",
        images=70_000,
        image_shape=(1, 28, 28),
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "cifar10": PublishedSet(
        files=tuple(f"cifar-10-batches-py/{name}" for name in _CIFAR10_FILES),
        archives=("cifar-10-python.tar.gz",),
        where="https://www.cs.toronto.edu/~kriz/cifar.html",
        images=60_000,
        image_shape=(3, 32, 32),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": PublishedSet(
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        archives=("cifar-100-python.tar.gz",),
        where="https://www.cs.toronto.edu/~kriz/cifar.html",
        images=60_000,
        image_shape=(3, 32, 32),
        classes=CIFAR100_CLASSES,
    ),
    "svhn": PublishedSet(
        files=("train_32x32.mat", "test_32x32.mat"),
        archives=(),
        where="http://ufldl.stanford.edu/housenumbers/",
        images=99_289,
        image_shape=(3, 32, 32),
        classes=_DIGITS,
    ),
}


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
        raise DataError(
            f"data: {name} isn't in {root} and couldn't be downloaded ({type(error).__name__}: {error}); "
            f"{_what_to_put(known, root)}"
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
