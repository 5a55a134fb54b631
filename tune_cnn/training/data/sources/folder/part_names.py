"""What the folders of parts are called in practice: as it should be, nearly, or so that it stays open which."""

import difflib
import re

from tune_cnn.training.data.sources.folder.entries import is_left_behind
from tune_cnn.training.data.sources.source import PartName

# The names that the parts' folders have in practice, in whatever case; the first is ours.
PART_NAMES: dict[PartName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tests"),
}
KNOWN: dict[str, PartName] = {name: part for part, names in PART_NAMES.items() for name in names}
# Names that some give to the validation images and others to the test images, or to something else.
UNCLEAR = frozenset({"eval", "evaluation", "holdout", "hold_out", "unseen", "heldout"})


def meant_part(name: str) -> str | None:
    """The part whose name this nearly is, or has in it; for a name that leaves open which, one that it may be."""
    if is_left_behind(name):
        return None
    name = name.lower()
    if name in UNCLEAR:
        return "val" if name.startswith("eval") else "test"
    words = [name, *re.split("[^a-z]+", name)]
    exact = [word for word in (*words, *(word.removesuffix("set") for word in words)) if word in KNOWN]
    # A typing error hardly ever hits the first letter: brain/ and latest/ mean something else.
    near = exact or difflib.get_close_matches(name, [one for one in KNOWN if one[0] == name[:1]], n=1, cutoff=0.75)
    return PART_NAMES[KNOWN[near[0]]][0] if near else None
