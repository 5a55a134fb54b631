"""The user's own functions, found by package.module:name."""

import importlib
from collections.abc import Callable

from tune_cnn.errors import SpecError, nearest
from tune_cnn.untyped import Untyped


def find_call(path: str, *, where: str) -> Callable[..., Untyped]:
    """The callable of that name; SpecError, naming the key `where`, says why there is none."""
    module_name, _, names = path.partition(":")
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything while it is imported
        first_line = str(error).partition("\n")[0]
        hint = "; is it installed, or its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise SpecError(
            f"{where}: importing {module_name} raised {type(error).__name__}: {first_line}{hint}"
        ) from error
    for name in names.split("."):
        if not hasattr(found, name):
            public = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise SpecError(f"{where}: {module_name} has no {names!r}{nearest(name, public)}")
        found = getattr(found, name)
    if not callable(found):
        raise SpecError(f"{where}: {path} must be something that can be called, got {type(found).__name__}")
    return found
