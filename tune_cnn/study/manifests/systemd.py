"""A unit for one machine: the search starts with it, ends at the epoch, and goes on after whatever has ended it."""

import re
from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import InputError, ResourceError
from tune_cnn.study.hints import HOME
from tune_cnn.study.manifests.asked import Asked, Source
from tune_cnn.study.manifests.template import filled

SECRETS = "~/.config/tune_cnn/secrets"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"  # a compiler and nvidia-smi may be asked for


def systemd(sources: Sequence[Source], asked: Asked, *, file: str = "FILE") -> str:
    """The unit. Raises ResourceError for a spec that a user's systemd has no right to run."""
    (source,) = sources
    study, limits = source.spec.study, source.spec.resources.power_limits_w
    if limits:
        raise ResourceError(
            f"resources.power_limit_w: is set by root alone, and this unit runs as a user, got "
            f"{', '.join(f'{watts:g}' for watts in limits)} W. {_instead(limits)}"
        )
    home = (asked.home or HOME).expanduser()
    words = [str(asked.programs / "tune-cnn"), "search", *source.words, "--home", str(asked.folder / home)]
    if asked.storage is not None:
        words += ["--storage", asked.storage]
    secrets = str(Path(asked.secrets or SECRETS).expanduser().absolute())
    return filled(
        "systemd.service",
        {
            "STUDY": study,
            "UNIT": f"tune-cnn-{study}.service",
            "FILE": file,
            "FOLDER": _path(str(asked.folder)),
            "COMMAND": " ".join(_word(word.replace("$", "$$")) for word in words),
            "SECRETS": _path(secrets),
            "PATH": _word(f"{asked.programs}:{SYSTEM_PATH}"),
            "NOTICE_S": asked.notice_s,
        },
    )


def _instead(limits: Sequence[float]) -> str:
    if len(limits) == 1:
        return (
            f"Leave it out, and have root set the limit before the search: `nvidia-smi -pl {limits[0]:g}` holds until "
            "the machine starts again, and the search runs at what it finds"
        )
    return "Several are a search's own affair: run `tune-cnn search` as root, in a shell and without this unit"


def _word(word: str) -> str:
    """A word as systemd reads it: what it would take apart is quoted. (Only in a command is $ doubled.)"""
    escaped = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_./:=@%$+,~-]+", escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _path(path: str) -> str:
    """A path that a directive takes whole, to the end of the line."""
    if any(not character.isprintable() for character in path) or path.endswith("\\") or path != path.strip():
        raise InputError(f"manifest systemd: a unit can't name the path {path!r}; rename the folder")
    return path.replace("%", "%%")
