"""What a name of the form package.module:name stands for: the user's own code, and ours where it crosses processes."""

import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from tune_cnn.errors import SpecError, first_line, nearest
from tune_cnn.text import printable
from tune_cnn.untyped import Plain

# Words before a colon that name a kind of data or model of ours, never a module of the user's.
KINDS = frozenset({"csv", "hf", "npz", "timm", "torchvision", "webdataset"})

LIGHTNING = "lightning:"  # begins a training that is a LightningModule, before package.module:Class


def is_call(name: str) -> bool:
    """Whether a name is of the user's code, package.module:name, rather than one of ours or of a kind: `csv:FILE`."""
    return ":" in name and module_name(name) not in KINDS


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
    except (Exception, SystemExit) as error:  # the user's module may raise anything while it is imported
        missing = isinstance(error, ModuleNotFoundError)
        hint = _hidden(module) or ("; is it installed, or its folder on PYTHONPATH?" if missing else "")
        raise SpecError(
            f"{where}: importing {module} raised {type(error).__name__}: {printable(first_line(error))}{hint}"
        ) from error
    for name in names.split("."):
        if not hasattr(found, name):
            public = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise SpecError(f"{where}: {module} has no {names!r}{_hidden(module) or nearest(name, public)}")
        found = getattr(found, name)
    if not callable(found):
        raise SpecError(f"{where}: {path} must be something that can be called, got {type(found).__name__}")
    return found


def _hidden(module: str) -> str:
    """Where an installed module, which goes first, hides one of the user's of that name: which, and what to do."""
    top = module.partition(".")[0]
    loaded = sys.modules.get(top)
    first = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
    if loaded is None:
        return ""
    for folder in map(Path, (*sys.path, "")):
        for own in (folder / f"{top}.py", folder / top / "__init__.py"):
            if own.is_file() and (first is None or own.absolute() != Path(first).absolute()):
                return f"; {top} is {first or 'built in'} here, which hides your {own.absolute()}: rename yours"
    return ""
