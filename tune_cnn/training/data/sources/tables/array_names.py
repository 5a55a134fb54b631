"""Which array of a file is what: images or labels, and of which part; by the words of its name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.part_names import KNOWN
from tune_cnn.training.data.sources.source import PartName

Role = Literal["images", "labels"]
ROLES: dict[str, Role] = {
    **dict.fromkeys(("images", "image", "imgs", "img", "x", "data", "pixels"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target", "classes", "class"), "labels"),
}


@dataclass(frozen=True, kw_only=True)
class NamedArrays:
    """The names of each part's two arrays."""

    images: dict[PartName, str]
    labels: dict[PartName, str]
    others: tuple[str, ...]

    @property
    def note(self) -> str:
        said = ", ".join(f"{self.images[part]!r} and {self.labels[part]!r} for {part}" for part in self.images)
        left = f"; not used: {', '.join(map(repr, self.others))}" if self.others else ""
        return f"images and labels are the arrays {printable(said)}{printable(left)}"


def name_arrays(where: str, names: Sequence[str]) -> NamedArrays:
    """DataError where the names don't say which arrays belong together."""
    found: dict[Role, dict[PartName, str]] = {"images": {}, "labels": {}}
    others = []
    for name in names:
        meant = _meant(name)
        if meant is None or meant[1] in found[meant[0]]:
            others.append(name)
        else:
            found[meant[0]][meant[1]] = name
    images, labels = found["images"], found["labels"]
    if set(images) != set(labels) or "train" not in images:
        listed = ", ".join(map(printable, names)) or "none"
        raise DataError(
            f"data: {where} needs arrays named images and labels, or train_images and train_labels, and likewise val "
            f"and test, got {listed}; name them so"
        )
    return NamedArrays(images=images, labels=labels, others=tuple(others))


def _meant(name: str) -> tuple[Role, PartName] | None:
    """Of a name such as train_images, x_test or labels; None where a word of it is none that is known."""
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if word]
    roles = [ROLES[word] for word in words if word in ROLES]
    parts = [KNOWN[word] for word in words if word in KNOWN]
    if len(roles) != 1 or len(parts) > 1 or len(roles) + len(parts) != len(words):
        return None
    return roles[0], parts[0] if parts else "train"
