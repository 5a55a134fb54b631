"""Where trials keep their checkpoints, and how the driver drops those of trials that have ended."""

import contextlib
import logging
import shutil

from pyarrow import ArrowException, fs

log = logging.getLogger(__name__)


def folder_of(checkpoints: str, trial: int) -> str:
    return f"{checkpoints}/{trial:06d}"


def forget(checkpoints: str, trial: int) -> None:
    """Remove a trial's checkpoints; one that can't be removed costs room, not the search."""
    remove(folder_of(checkpoints, trial))


def remove(folder: str) -> None:
    try:
        if "://" not in folder:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
            return
        storage, path = fs.FileSystem.from_uri(folder)
        if storage.get_file_info(path).type == fs.FileType.Directory:
            storage.delete_dir(path)
    except (OSError, ArrowException) as error:
        log.warning("%s could not be removed: %s", folder, error)
