"""Optimizers of libraries that a user installs for them."""

from importlib import import_module
from importlib.util import find_spec

from tune_cnn.errors import SpecError
from tune_cnn.untyped import Untyped

# Where each stands, and the extra that brings it.
LIBRARIES = {
    "lamb": ("timm.optim", "Lamb", "timm"),
    "lars": ("timm.optim", "Lars", "timm"),
    "schedule_free_sgd": ("schedulefree", "SGDScheduleFree", "schedule-free"),
    "schedule_free_adamw": ("schedulefree", "AdamWScheduleFree", "schedule-free"),
}


def check_installed(name: str) -> None:
    """SpecError where an optimizer's library is missing; nothing of it is imported."""
    if name in LIBRARIES and find_spec(LIBRARIES[name][0].partition(".")[0]) is None:
        library, _, extra = LIBRARIES[name]
        raise SpecError(
            f"space.optimizer: {name} needs the package {library.partition('.')[0]}, which is not installed; "
            f"run `uv sync --extra {extra}`"
        )


def optional_class(name: str) -> Untyped:
    """The library's class; imported now, as few trials want it."""
    check_installed(name)
    module, kind, _ = LIBRARIES[name]
    return getattr(import_module(module), kind)
