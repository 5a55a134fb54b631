"""Which column of a table holds the images, which the classes, and which the parts: guessed by name, and said."""

from collections.abc import Sequence
from dataclasses import dataclass

from tune_cnn.errors import DataError, nearest
from tune_cnn.spec.parts import Columns
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.part_names import KNOWN
from tune_cnn.training.data.sources.source import PartName

# Names in practice, in small letters; where a table has several, the first of these.
IMAGE = (
    *("image", "img", "images", "path", "image_path", "img_path", "file_path", "filepath", "file", "filename"),
    *("file_name", "image_file", "image_name", "photo", "picture", "image_id", "id"),
)
LABEL = (
    *("label", "labels", "class", "class_name", "label_name", "target", "category", "y", "species", "breed"),
    *("fine_label", "class_id", "label_id", "diagnosis"),
)
SPLIT = ("split", "set", "part", "partition", "subset", "data_set", "dataset")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The columns that are read."""

    image: str
    label: str
    split: str | None

    @property
    def note(self) -> str:
        split = f", {printable(self.split)!r} the parts" if self.split is not None else ""
        return f"column {printable(self.image)!r} holds the images, {printable(self.label)!r} the classes{split}"


def choose_columns(where: str, names: Sequence[str], asked: Columns | None) -> Chosen:
    """By data.columns, else by name; DataError where a column that is asked for isn't there, or none looks right."""
    asked = asked or Columns(image=None, label=None, split=None)
    for role, name in (("image", asked.image), ("label", asked.label), ("split", asked.split)):
        if name is not None and name not in names:
            raise DataError(f"data.columns.{role}: {where} has no column {name!r}{nearest(name, names)}")
    image = asked.image or _named(names, IMAGE, but=(asked.label, asked.split))
    label = asked.label or _named(names, LABEL, but=(image, asked.split))
    for role, name, what in (("image", image, "the images"), ("label", label, "the classes")):
        if name is None:
            listed = ", ".join(map(printable, names))
            raise DataError(
                f"data: no column of {where} is named as if it held {what} (columns: {listed}); set data.columns."
                f"{role} to the one that does"
            )
    assert image is not None and label is not None
    split = asked.split or _named(names, SPLIT, but=(image, label))
    return Chosen(image=image, label=label, split=split)


def _named(names: Sequence[str], known: Sequence[str], but: Sequence[str | None]) -> str | None:
    plain = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)}
    return next((plain[one] for one in known if one in plain and plain[one] not in but), None)


def part_of(text: str, where: str) -> PartName:
    """Of what stands in the column of the parts, in whatever case."""
    part = KNOWN.get(text.strip().lower())
    if part is None:
        raise DataError(
            f"{where} must be train, val or test, got {printable(text)!r}"
            + nearest(text, KNOWN, "correct it, or set data.columns.split to another column")
        )
    return part


def class_names(found: Sequence[str]) -> tuple[str, ...]:
    """In the order of their labels: whole numbers by size, names by letter."""
    names = set(found)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
