"""What a source of images offers to the cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from tune_cnn.training.data.readers import Int64, Reader, Uint8
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.packed.kept import Packing
from tune_cnn.training.data.sources.packed.packing import Packed

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")
SAMPLE = 2000  # images from which mean and std are taken where not all are decoded


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Names in the order of their labels, and the label of each number that stood for one until all were known."""

    names: tuple[str, ...]
    labels_k: Int64


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some images of one part, in order."""

    part: PartName
    labels_n: Int64
    rows_n: Int64  # the reader's row of each image
    # NCHW: all of these images; where the set isn't cached, those of a sample, or none.
    images_nchw: Uint8 | None
    identity: bytes = b""  # what tells the images apart where they aren't decoded
    notes: tuple[str, ...] = ()
    depth: Depth | None = None  # of files with more than 8 bits, once it is known
    packed: tuple[Packed, ...] = ()  # all of these images, where the set is kept packed
    places_n3: Int64 | None = None  # where each lies, where they are read from few files: file, first byte, bytes
    classes: Classes | None = None  # of a source that learns them as it reads, once it has read all


class Source(Protocol):
    """Raw images that were found and can be read; nothing is decoded yet."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str:
        """Of the cache: hash of what the images are decoded from, and how."""
        ...

    @property
    def images(self) -> int:
        """At most so many, over all parts; about so many where they lie in few files."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Empty: numbered by the training labels, or learned as the images are read."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user, on what was found: said at every start, also where the images come from the cache."""
        ...

    @property
    def bypass(self) -> str:
        """Why the decoded images can't be kept, as a note for the user; empty where they can."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Decode everything once, part by part in the order of PARTS."""
        ...

    def reader(self, depth: Depth | None, /) -> Reader | None:
        """Reads one raw image, with the depth that a chunk told; None where the cache itself serves."""
        ...

    def place(self, row: int, /) -> str | None:
        """Where the reader's row lies, to be shown; None where it has no name but its number."""
        ...


@runtime_checkable
class MaybePacked(Protocol):
    """A source that may be kept as JPEGs in one file; its chunks then have all images both decoded and packed."""

    @property
    def packing(self) -> Packing | None: ...


def packing_of(source: Source) -> Packing | None:
    """None: it is kept as pixels, or not at all."""
    return source.packing if isinstance(source, MaybePacked) else None


@runtime_checkable
class InFewFiles(Protocol):
    """A source whose images lie many to a file: its chunks say where, for a cache that keeps no more than that."""

    def chunks_by(self, scratch: Path, /) -> Iterator[Chunk]:
        """As `chunks`; files that must be fetched lie in that folder, one at a time."""
        ...

    def reader_by(self, places: Path, /) -> Reader:
        """Reads one image where a file of `places_n3` says that it lies."""
        ...


def places_of(source: Source) -> InFewFiles | None:
    """The source, where its images are read from few files each time; None where others are at hand."""
    return source if source.bypass and isinstance(source, InFewFiles) else None
