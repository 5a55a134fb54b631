"""A contact sheet: a row a class with some of its training images, as training sees them."""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.readers import Uint8

EACH = 8  # images a class
MOST = 40  # classes
SIDE, GAP, NAMES = 72, 4, 190  # pixels: a thumbnail, what lies between two, the column of names
SHORT = 24  # letters of a name
LINE = 24  # pixels of the last line
ASCII, DEJAVU = 0x80, 0x530  # the first letters that fonts lack: Latin, Greek and Cyrillic come before
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (120, 120, 120)


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Some images of one class, side by side."""

    name: str
    count: int  # training images that there are of it
    image: Image.Image


def strips(images: ImageSets) -> list[Strip]:
    """Of each class, EACH images that lie evenly among its training images; of more than MOST classes, the first."""
    found = []
    for label, name in enumerate(images.facts.classes[:MOST]):
        positions = np.flatnonzero(images.train.labels_n == label)
        chosen = positions[np.unique(np.linspace(0, len(positions) - 1, EACH).astype(int))]
        strip = Image.new("RGB", (EACH * (SIDE + GAP) - GAP, SIDE), PAPER)
        for column, image_chw in enumerate(images.train.fetch(chosen)):
            strip.paste(_thumbnail(image_chw), (column * (SIDE + GAP), 0))
        found.append(Strip(name=name, count=len(positions), image=strip))
    return found


def contact_sheet(rows: Sequence[Strip], classes: int) -> Image.Image:
    """All strips with their names; `classes`: how many there are in all."""
    more = f"and {classes - len(rows)} more classes" if classes > len(rows) else ""
    width, height = NAMES + EACH * (SIDE + GAP) + GAP, len(rows) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, height + (LINE if more else 0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font, small = _font(15), _font(12)
    for number, strip in enumerate(rows):
        top = GAP + number * (SIDE + GAP)
        name = "".join(_drawn(letter, font) for letter in strip.name)
        draw.text((10, top + 18), name if len(name) <= SHORT else f"{name[: SHORT - 3]}...", INK, font)
        draw.text((10, top + 40), f"{strip.count:,} images", FAINT, small)
        sheet.paste(strip.image, (NAMES, top))
    draw.text((10, height + 2), more, FAINT, small)
    return sheet


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _font(size: int) -> Font:
    """One that most systems have, else Pillow's own, which has the letters of English alone."""
    with suppress(OSError):
        return ImageFont.truetype("DejaVuSans.ttf", size)
    return ImageFont.load_default(size)


def _drawn(letter: str, font: Font) -> str:
    """A letter that the font is known to have, else its escape: a box tells nothing."""
    known = DEJAVU if isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] == "DejaVu Sans" else ASCII
    return letter if ord(letter) < known else letter.encode("ascii", "backslashreplace").decode()


def _thumbnail(image_chw: Uint8) -> Image.Image:
    """Its first channel in grey, or its first three as colours; small ones in whole pixels."""
    colours = image_chw[:3] if len(image_chw) >= 3 else np.repeat(image_chw[:1], 3, axis=0)
    image = Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))
    scale = SIDE / max(image.size)
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, kind)
