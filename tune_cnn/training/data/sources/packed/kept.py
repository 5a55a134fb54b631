"""How a set's images are kept: as pixels, as JPEGs in one file, or not at all; by `data.cache` and the quota."""

from dataclasses import dataclass

from tune_cnn.spec.parts import CacheKind
from tune_cnn.training.data.cache_quota import DISK_GB, quota_bytes
from tune_cnn.training.data.sources.packed.jpeg import QUALITY, check_decoder, decoder
from tune_cnn.training.data.sources.packed.packing import TOLERANCE, Kind

SMALL_SHARE = 0.25  # of its pixels that a small copy takes: photographs of 224² took 0.17, what is grainier takes more


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A set that is kept as JPEGs in one file."""

    kind: Kind
    needed_bytes: int  # about

    @property
    def shown(self) -> str:
        """What its pixels depend on, for keys."""
        return f"{self.kind} ({decoder()})"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was decided of a set: pixels, where it neither is packed nor bypasses the cache."""

    packing: Packing | None = None
    bypass: str = ""  # why it isn't cached, as a note for the user
    note: str = ""  # on how it is packed


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a set takes: exactly, or about."""

    pixels_bytes: int
    jpeg_bytes: int  # its files, of each no more than its pixels
    largest_bytes: int  # as pixels; a set above that bypasses the cache


def how_kept(asked: CacheKind, sizes: Sizes, read_from: str = "their files") -> Kept:
    """`read_from`: where the images are read each time if they aren't kept.

    By the data and the search's quota alone, so that all nodes decide alike. DataError where packing is due and the
    decoder is missing.
    """
    pixels, quota = sizes.pixels_bytes, quota_bytes()
    if asked == "none" or (asked == "auto" and quota is None and pixels > sizes.largest_bytes):
        why = "by data.cache" if asked == "none" else f"the decoded images would take {pixels:,} bytes"
        return Kept(
            bypass=f"{why}: they aren't cached but read from {read_from} each time, so the loader `device` can't be "
            "used, and mean and std are of a sample of training images"
        )
    if asked == "pixels" or (asked == "auto" and pixels <= min(sizes.largest_bytes, quota or pixels)):
        return Kept()
    check_decoder()
    if asked == "small_jpeg":
        return Kept(
            packing=Packing(kind="small_jpeg", needed_bytes=round(SMALL_SHARE * pixels)),
            note=f"the images are kept as JPEG copies of quality {QUALITY}, each within {TOLERANCE:g} of 256 grey "
            "levels in the mean, and decoded each time; the loader `device` can't be used",
        )
    why = f"as pixels they would take {pixels / 1e9:.2g} GB, more than {DISK_GB} allows" if asked == "auto" else ""
    return Kept(
        packing=Packing(kind="jpeg", needed_bytes=sizes.jpeg_bytes),
        note=f"the images are kept as JPEGs in one file{f' ({why})' if why else ''} and decoded each time, each within "
        f"{TOLERANCE:g} of 256 grey levels in the mean; the loader `device` can't be used",
    )
