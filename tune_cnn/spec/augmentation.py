"""The words of `augment`: operations of which several may be joined by `+`, done in that order."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from tune_cnn.errors import nearest
from tune_cnn.untyped import Plain

USUAL = ("none", "flip", "crop", "crop_flip")
POLICIES = ("random_resized_crop", "color_jitter", "trivial_augment", "rand_augment", "random_erasing")
COLOURED = ("color_jitter", "trivial_augment", "rand_augment")  # on images of three channels alone


def operations_of(augment: str) -> tuple[str, ...]:
    """In the order in which they are done."""
    return tuple(augment.split("+"))


def _joined(raw: Plain) -> Plain:
    """A list of operations is the same as one text in which `+` joins them."""
    return "+".join(map(str, raw)) if isinstance(raw, list) else raw


def _known(augment: str) -> str:
    names, known = operations_of(augment), (*USUAL, *POLICIES)
    for name in names:
        if name not in known:
            raise ValueError(
                f"must be {', '.join(known)}, or some of them joined by +, got {name!r}{nearest(name, known)}"
            )
    if len(names) > 1 and "none" in names:
        raise ValueError(f"none can't be joined with others, got {augment!r}; leave it out")
    each = [part for name in names for part in (("crop", "flip") if name == "crop_flip" else (name,))]
    if twice := next((part for part in each if each.count(part) > 1), None):
        raise ValueError(f"each operation is done once, got {twice} twice in {augment!r}; leave one out")
    return augment


Augment = Annotated[str, BeforeValidator(_joined), AfterValidator(_known)]
