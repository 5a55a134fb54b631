"""How much of the user's code travels to a cluster's nodes: Ray carries a package through its head's memory."""

from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import SpecError
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)

from ray._private.runtime_env import packaging  # isort: skip  # private, and the one place that knows what is packed

SHOWN = 3  # files in a message
MB = 10**6


def check_size(packages: Sequence[str], leave_out: Sequence[str]) -> None:
    """SpecError where one of the packages is more than Ray carries; `leave_out` are patterns as in .gitignore."""
    for package in packages:
        sizes = packed_files(Path(package), leave_out)
        total = sum(sizes.values())
        if total >= packaging.GCS_STORAGE_MAX_SIZE:
            largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:SHOWN]
            named = ", ".join(f"{path.relative_to(package)} ({sizes[path] / MB:,.0f} MB)" for path in largest)
            raise SpecError(
                f"resources.code: {package} travels to the cluster's nodes and may hold "
                f"{packaging.GCS_STORAGE_MAX_SIZE / MB:,.0f} MB of files, got {total / MB:,.0f} MB; the largest: "
                f"{named}. Name what stays here in resources.leave_out, as in resources: {{leave_out: "
                f"['{largest[0].relative_to(package)}']}} (patterns as in .gitignore), or keep data outside the package"
            )


def packed_files(package: Path, leave_out: Sequence[str]) -> dict[Path, int]:
    """The files that Ray would pack, and their bytes: not those of `leave_out`, .gitignore and .rayignore."""
    sizes: dict[Path, int] = {}

    def count(path: Path) -> None:
        if path.is_file():
            sizes[path] = path.stat().st_size

    excludes = [packaging._get_excludes(package, list(leave_out))]
    packaging._dir_travel(package, excludes, count, include_gitignore=True)
    return sizes
