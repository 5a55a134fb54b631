"""What a name of the form package.module:name stands for: the user's own code, and ours where it crosses processes."""

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter

from tune_cnn.errors import SpecError, first_line, nearest
from tune_cnn.untyped import Plain


def module_name(path: str) -> str:
    """The part before the colon."""
    return path.partition(":")[0]


def resolve(path: str) -> Plain:
    """What one of our own names stands for; the import is this process's first where nothing else needed the module."""
    module, _, names = path.partition(":")
    return attrgetter(names)(import_module(module))


def find_call(path: str, *, where: str) -> Callable[..., Plain]:
    """The user's callable of that name; SpecError, naming the key `where`, says why there is none."""
    module, _, names = path.partition(":")
    if not module or module.startswith(".") or not names:
        raise SpecError(f"{where}: must be named as package.module:name, got {path!r}")
    try:
        found: object = import_module(module)
    except Exception as error:  # the user's module may raise anything while it is imported
        hint = "; is it installed, or its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise SpecError(
            f"{where}: importing {module} raised {type(error).__name__}: {first_line(error)}{hint}"
        ) from error
    for name in names.split("."):
        if not hasattr(found, name):
            public = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise SpecError(f"{where}: {module} has no {names!r}{nearest(name, public)}")
        found = getattr(found, name)
    if not callable(found):
        raise SpecError(f"{where}: {path} must be something that can be called, got {type(found).__name__}")
    return found
