"""The code that travels to a cluster's nodes: ours, and the packages that a spec names."""

import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import SpecError
from tune_cnn.spec.calls import module_name

OURS = ("tune_cnn", "search_spaces")


def carried_modules(code: Sequence[str], calls: Sequence[str]) -> list[str]:
    """Paths of packages and single-file modules for Ray's `py_modules`.

    `code` are the folders of `resources.code`; `calls` are `package.module:name`, whose top-level packages are
    found on the path. What is installed into site-packages is expected on every node and stays behind.
    """
    paths = [path for folder in code for path in _modules_in(Path(folder))]
    paths += [found for top in (*OURS, *_tops(calls)) if (found := _module_path(top)) and not _stays(top, found)]
    return list(dict.fromkeys(map(str, paths)))


def outside_modules(code: Sequence[str], folder: Path) -> list[Path]:
    """Modules of `resources.code` that are not at the top of `folder`, where a job's process would find them."""
    return [path for entry in code for path in _modules_in(Path(entry)) if path.parent.resolve() != folder.resolve()]


def code_key(code: Sequence[str], calls: Sequence[str]) -> str:
    """A hash of the Python files of the packages and modules that a spec names, installed ones too.

    What they import from elsewhere doesn't count, nor does a file that isn't Python's.
    """
    named = [path for folder in code for path in _modules_beneath(Path(folder))]
    named += [found for top in _tops(calls) if (found := _module_path(top)) is not None]
    hashed = hashlib.sha256()
    for path in dict.fromkeys(path.resolve() for path in named):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.is_file():  # an editor's lock is a link to nothing
                hashed.update(f"{file.relative_to(path.parent)}\0".encode())
                hashed.update(hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()


def code_folders(code: Sequence[str]) -> list[str]:
    """Where the user's modules are found: beside the packages that `code` names, and in the working directory."""
    alone = [Path(path).is_file() or (Path(path) / "__init__.py").exists() for path in code]
    folders = [str(Path(path).parent if one else path) for path, one in zip(code, alone, strict=True)]
    return [*folders, str(Path.cwd())]


def import_folders() -> tuple[str, ...]:
    """Where this process finds modules, beside Python's own and the installed ones: the user's code among them.

    Ray shows its workers the driver's working directory and script folder, but nothing that was added to `sys.path`.
    """
    installed = [Path(folder) for folder in (*_site_folders(), sys.prefix, sys.base_prefix)]
    folders = [Path(folder or ".").absolute() for folder in sys.path]
    own = [f for f in folders if f.is_dir() and not any(f.is_relative_to(other) for other in installed)]
    return tuple(dict.fromkeys(map(str, own)))


def add_import_folders(folders: Sequence[str]) -> None:
    """Find modules there too, last: what is installed comes first, and in a worker what Ray carried to its node."""
    sys.path += [folder for folder in folders if folder not in sys.path and Path(folder).is_dir()]


def _modules_in(folder: Path) -> list[Path]:
    if not folder.exists():
        raise SpecError(f"resources.code: {folder} does not exist")
    found = _modules_beneath(folder)
    if not found:
        raise SpecError(f"resources.code: {folder} holds no Python package and no module")
    return found


def _modules_beneath(folder: Path) -> list[Path]:
    if folder.is_file() or (folder / "__init__.py").exists():
        return [folder]
    packages = [file.parent for file in folder.glob("*/__init__.py")]
    modules = [child for child in folder.glob("*.py") if child.name != "setup.py"]
    return sorted([*packages, *modules])


def _tops(calls: Sequence[str]) -> list[str]:
    return [module_name(call).partition(".")[0] for call in calls]


def _module_path(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    path = Path(spec.submodule_search_locations[0]) if spec.submodule_search_locations else Path(str(spec.origin))
    return path if path.exists() else None  # built-in modules have no path


def _stays(name: str, path: Path) -> bool:
    """Whether it is installed, and expected on every node."""
    return name not in OURS and any(path.is_relative_to(folder) for folder in _site_folders())


def _site_folders() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"]]
