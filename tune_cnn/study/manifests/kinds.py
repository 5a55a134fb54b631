"""The kinds of manifest, which options each has a use for, and the way from the command's words to the file."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tune_cnn.errors import InputError, nearest
from tune_cnn.files import write_whole
from tune_cnn.spec import load_spec
from tune_cnn.study.manifests.asked import Asked, Source
from tune_cnn.study.manifests.kuberay import kuberay
from tune_cnn.study.manifests.slurm import slurm
from tune_cnn.study.manifests.systemd import systemd
from tune_cnn.untyped import Plain

EVERY = {"programs", "folder", "home", "storage", "secrets", "notice_s"}
LEAST_NOTICE_S = 30  # the driver looks for a signal between two results, then writes its report and ends Ray


@dataclass(frozen=True, kw_only=True)
class Kind:
    write: Callable[..., str]  # (sources, asked, file=…) -> text
    takes: frozenset[str]  # of the fields of Asked, beside EVERY
    several: bool = False  # studies in one manifest


KINDS = {
    "slurm": Kind(write=slurm, takes=frozenset({"nodes", "slots", "node"}), several=True),
    "kuberay": Kind(
        write=kuberay, takes=frozenset({"nodes", "slots", "image", "claim", "memory_gib", "node_selector"})
    ),
    "systemd": Kind(write=systemd, takes=frozenset()),
}


def manifest(kind: str, specs: Sequence[str], overrides: Sequence[str], asked: Asked, output: Path | None) -> Plain:
    """The command's document: {study, kind, text}, or {study, kind, file} where it was written. Raises InputError."""
    if kind not in KINDS:
        raise InputError(f"manifest: there is no kind {kind!r}{nearest(kind, KINDS)}")
    _check_options(kind, specs, asked)
    if output is not None and output.exists():
        raise InputError(
            f"{output}: is there already, and may have been edited by hand; remove it, or give another name"
        )
    sources = [_source(spec, overrides) for spec in specs]
    text = KINDS[kind].write(sources, asked, file=str(output) if output else "FILE")
    document: dict[str, Plain] = {"study": ", ".join(source.spec.study for source in sources), "kind": kind}
    if output is None:
        return document | {"text": text}
    write_whole(output, text)
    return document | {"file": str(output)}


def programs() -> Path:
    """The folder of this process's programs. Not resolved: an environment's python is a link."""
    return Path(sys.executable).parent


def _check_options(kind: str, specs: Sequence[str], asked: Asked) -> None:
    taken = EVERY | KINDS[kind].takes
    for option in fields(asked):
        if option.name not in taken and getattr(asked, option.name):
            dashed = "--" + option.name.replace("_", "-")
            raise InputError(f"{dashed}: means nothing to {kind}; leave it out")
    if len(specs) > 1 and not KINDS[kind].several:
        raise InputError(
            f"manifest {kind}: holds one study, got {len(specs)} specs; write a manifest for each (a Slurm job array "
            "holds several)"
        )
    if asked.notice_s < LEAST_NOTICE_S:
        raise InputError(
            f"--notice: an epoch and its checkpoint must fit in, so it is {LEAST_NOTICE_S} seconds or more, got "
            f"{asked.notice_s}; raise it"
        )
    if asked.storage is not None and "://" not in asked.storage and not asked.storage.startswith("/"):
        raise InputError(
            f"--storage: a folder must be named from the root, as other machines look for it, got {asked.storage!r}; "
            "write it out"
        )


def _source(named: str, overrides: Sequence[str]) -> Source:
    spec = load_spec(named, overrides)
    file = Path(named).expanduser()
    return Source(named=str(file.absolute()) if file.is_file() else named, overrides=tuple(overrides), spec=spec)
