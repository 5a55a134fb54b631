"""The working directory as it travels with a job: which files, how large, and one zip of them."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import InputError
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.code import outside_modules
from tune_cnn.trials.cluster.code_size import MB, SHOWN, check_size, packed_files

from ray._private import ray_constants  # isort: skip
from ray._private.runtime_env import packaging  # isort: skip  # private, and where Ray's limits stand

# A package goes to the head in one request, and then lies in its memory: the smaller of Ray's two limits counts
LIMIT_BYTES = min(packaging.GCS_STORAGE_MAX_SIZE, ray_constants.DASHBOARD_CLIENT_MAX_SIZE)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A package for Ray, and what of the folder is not in it."""

    files: int
    size_bytes: int  # of the zip
    left_out: tuple[str, ...]  # relative to the folder; a folder whose files all stay is one entry


def pack(
    folder: Path, target: Path, *, leave_out: Sequence[str], secret: Sequence[Path], extra: Mapping[str, bytes]
) -> Packed:
    """Zip what of `folder` is to travel, with `extra` files beside it; InputError where it is more than Ray carries.

    Not packed: what .gitignore, .rayignore and `leave_out` name, Ray's own (.git, .venv), and the `secret` files.
    """
    excluded = [*ray_constants.get_runtime_env_default_excludes(), *leave_out]
    kept = {path.resolve() for path in secret}
    sizes = {path: size for path, size in packed_files(folder, excluded).items() if path.resolve() not in kept}
    check_limit(folder, sizes)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(sizes):
            if str(path.relative_to(folder)) not in extra:
                archive.write(path, path.relative_to(folder))
        for name, content in extra.items():
            archive.writestr(name, content)
    size = target.stat().st_size
    if size >= LIMIT_BYTES:
        raise InputError(_too_much(folder, sizes, f"{size / MB:,.0f} MB as a zip"))
    return Packed(files=len(sizes), size_bytes=size, left_out=left_out(folder, sizes))


def check_limit(folder: Path, sizes: Mapping[Path, int]) -> None:
    """Before minutes are spent on packing: ten times the limit is no code, however well it may shrink."""
    total = sum(sizes.values())
    if total >= 10 * LIMIT_BYTES:
        raise InputError(_too_much(folder, sizes, f"{total / MB:,.0f} MB"))


def left_out(folder: Path, packed: Mapping[Path, int]) -> tuple[str, ...]:
    """What stays here, each as short as it can be named."""
    carried = set(packed) | {above for path in packed for above in path.parents}
    found: list[str] = []

    def look(inside: Path) -> None:
        for child in sorted(inside.iterdir()):
            if child not in carried:
                found.append(str(child.relative_to(folder)) + ("/" if child.is_dir() else ""))
            elif child.is_dir() and not child.is_symlink() and os.access(child, os.R_OK | os.X_OK):
                look(child)

    look(folder)
    return tuple(found)


def _too_much(folder: Path, sizes: Mapping[Path, int], came: str) -> str:
    largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:SHOWN]
    named = ", ".join(f"{path.relative_to(folder)} ({sizes[path] / MB:,.0f} MB)" for path in largest)
    return (
        f"{folder}: travels to the cluster as the working directory and may hold {LIMIT_BYTES / MB:,.0f} MB, got "
        f"{came}; the largest: {named}. Name what stays here in resources.leave_out, as in resources: {{leave_out: "
        f"['{largest[0].relative_to(folder)}']}} (patterns as in .gitignore), or submit from a folder of code"
    )


def code_from_elsewhere(code: Sequence[str], folder: Path, leave_out: Sequence[str]) -> dict[str, bytes]:
    """Files of `resources.code` that aren't at the top of `folder`, by their names there, where the job finds them."""
    modules = outside_modules(code, folder)
    check_size([str(module) for module in modules if module.is_dir()], leave_out)
    files = {module.name: module for module in modules if module.is_file()}
    for module in modules:
        if module.is_dir():
            excluded = [*ray_constants.get_runtime_env_default_excludes(), *leave_out]
            files |= {f"{module.name}/{path.relative_to(module)}": path for path in packed_files(module, excluded)}
    return {name: path.read_bytes() for name, path in files.items()}
