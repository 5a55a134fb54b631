"""Where a study was sent: a small file in its folder, so that `watch STUDY` needs no URL. It holds no secret."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError
from tune_cnn.files import write_whole

FILE = "submitted.json"
STORE = "TUNE_CNN_STORE"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A study's cluster, and where its record is."""

    jobs_url: str
    store_file: str | None = None  # holds the store's URL; its content is never kept here


def remember(home: Path, study: str, sent: Sent) -> None:
    write_whole(home / study / FILE, json.dumps(asdict(sent), indent=2) + "\n")


def remembered(home: Path, study: str) -> Sent | None:
    """None where the study was never sent from this home; InputError where the file is damaged."""
    path = home / study / FILE
    try:
        return Sent(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: can't be read ({error}); remove it, and give --jobs-url") from None


def store_from(path: Path) -> str:
    """The URL that a file holds; InputError where it holds none."""
    try:
        url = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--store: {path} can't be read ({error}); name a file that holds the store's URL") from None
    if "://" not in url or len(url.split()) != 1:
        raise InputError(f"--store: {path} must hold one URL and nothing else, like postgresql://USER:PASSWORD@HOST/DB")
    return url


@contextmanager
def with_store_of(sent: Sent | None) -> Iterator[None]:
    """The study's own store is the one that is read meanwhile, unless the environment names another."""
    with left_as_found():
        if sent is not None and sent.store_file and STORE not in os.environ:
            os.environ[STORE] = store_from(Path(sent.store_file))
        yield
