"""A trial's checkpoints: written whole or not at all, checked when read, the newest two kept.

A checkpoint's name carries its epoch, its step where it is of one within an epoch, and the SHA-256 of its bytes, so a
torn or altered one shows before it is parsed.
"""

import hashlib
import io
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from pyarrow import fs as arrow_fs
from pyarrow.lib import ArrowInvalid

from tune_cnn.errors import InputError, first_line
from tune_cnn.files import replace_whole
from tune_cnn.untyped import Untyped

_log = logging.getLogger(__name__)
_NAME = re.compile(r"checkpoint-(\d{6,})(?:-(\d{6,}))?-([0-9a-f]{64})\.pt")
_TEMPORARY = re.compile(r"\.checkpoint-\d{6,}(-\d{6,})?-[0-9a-f]{64}\.pt(\.\d+)?\.tmp")  # the writer's PID, in a folder
WRITING_SHARE = 0.1  # of the time, at most, for checkpoints within an epoch: a large state on a slow disk
_KEPT = 2  # the newest, and the one before in case the newest turns out corrupt

Position = tuple[int, int]  # epochs, and steps of the next one


class Checkpoints:
    """Checkpoints of one trial in a folder of its own.

    folder: a local path or a URI that Ray's storage knows (s3://…, gs://…, file://…); None: nothing is ever written.
    every_s: wall-clock seconds between checkpoints, counted from the making of this object.
    `checkpoint_time_s` adds up the seconds spent in `write`, failed ones included.

    One process at a time writes (rank 0). A storage that fails never ends the trial: losing a checkpoint costs some
    training after a crash, ending the trial costs all of them.
    """

    def __init__(self, folder: str | None, *, every_s: float) -> None:
        self.checkpoint_time_s = 0.0
        self._every_s = every_s
        self._last = time.monotonic()
        self._took_s = 0.0  # the last attempt to write
        self._storage = _storage(folder) if folder is not None else None
        self._newest_path = ""
        self._newest_at: Position | None = None
        self._corrupt: set[str] = set()
        self._failing = False

    def due(self) -> bool:
        """Whether `every_s` have passed since the last attempt to write, or since the start; never without a folder."""
        return self._storage is not None and time.monotonic() - self._last >= self._every_s

    def due_within_epoch(self) -> bool:
        """The same at a step; never where `every_s` is 0, which means each epoch, nor where writing takes too long."""
        if not self._every_s or not self.due():
            return False
        return time.monotonic() - self._last >= self._took_s / WRITING_SHARE

    @property
    def newest_at(self) -> "Position | None":
        """Epochs, and steps of the next one, after which the newest checkpoint was taken that stands."""
        return self._newest_at

    def write(self, state: Mapping[str, Untyped], epoch: int, step: int = 0) -> str:
        """Write the state after `epoch` epochs, and so many steps of the next one, and return its path.

        state: tensors, numbers, strings, None and containers of them, all that `weights_only` reads back.
        Where the storage fails (full, read-only, gone) the path of the newest checkpoint that stands is returned ("" if
        none), no partial file stays, and a warning is logged once until a write succeeds again.
        """
        if self._storage is None:
            return ""
        begun = time.monotonic()
        try:
            self._write(self._storage, state, epoch, step)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.warning(
                    "checkpoint of epoch %s can't be written to %s (%s); the trial goes on, a restart would use %s",
                    f"{epoch}, step {step}," if step else epoch,
                    self._storage.folder,
                    error,
                    self._newest_path or "none",
                )
            self._failing = True
        self._last = time.monotonic()
        self._took_s = self._last - begun
        self.checkpoint_time_s += self._took_s
        return self._newest_path

    def newest(self) -> tuple[dict[str, Untyped], str] | None:
        """The newest readable state, tensors on the CPU, and its path; None where there is none.

        One that can't be used is named in a warning, with what is used instead. No code in a file is ever run.
        """
        if self._storage is None:
            return None
        try:
            names = _newest_first(self._storage.names())
        except OSError as error:
            _log.warning(
                "checkpoints in %s can't be listed (%s); starting from the beginning", self._storage.folder, error
            )
            return None
        for older, name in enumerate(names, start=1):
            path = self._storage.path(name)
            try:
                state = _parse(name, self._storage.read(name))
            except (_Corrupt, OSError) as error:
                instead = self._storage.path(names[older]) if older < len(names) else "a start from the beginning"
                _log.warning("checkpoint %s is not usable: %s; using instead: %s", path, error, instead)
                self._corrupt.add(name)
                continue
            self._newest_path, self._newest_at = path, _position(name)
            return state, path
        return None

    def remove(self) -> None:
        """Delete this trial's checkpoints, and the folder if nothing else is in it."""
        if self._storage is None:
            return
        try:
            for name in self._storage.names():
                if _NAME.fullmatch(name) or _TEMPORARY.fullmatch(name):
                    self._storage.delete(name)
            self._storage.delete_folder_if_empty()
        except OSError as error:
            _log.warning(
                "checkpoints in %s can't be deleted (%s); delete the folder by hand", self._storage.folder, error
            )
        self._newest_path, self._newest_at = "", None

    def _write(self, storage: "_Storage", state: Mapping[str, Untyped], epoch: int, step: int) -> None:
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        data = buffer.getbuffer()
        within = f"-{step:06d}" if step else ""
        name = f"checkpoint-{epoch:06d}{within}-{hashlib.sha256(data).hexdigest()}.pt"
        storage.write(name, data)
        self._newest_path, self._newest_at = storage.path(name), (epoch, step)
        for old in _superseded(storage.names(), name, self._corrupt):
            storage.delete(old)


class _Corrupt(Exception):
    """A checkpoint's bytes are not what was written, or not a checkpoint."""


def _newest_first(names: list[str]) -> list[str]:
    """The names that are checkpoints, by falling epoch and step; foreign files are left alone."""
    return sorted((n for n in names if _NAME.fullmatch(n)), key=_position, reverse=True)


def _position(name: str) -> Position:
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return int(found[1]), int(found[2] or 0)


def _superseded(names: list[str], written: str, corrupt: set[str]) -> list[str]:
    """What goes after `written` stands: all but it and the newest sound one of a step before it.

    Later ones go too: the trial went on from an earlier one, so they are no longer its past.
    """
    earlier = [n for n in _newest_first(names) if _position(n) < _position(written) and n not in corrupt]
    kept = {written, *earlier[: _KEPT - 1]}
    return [n for n in names if (_NAME.fullmatch(n) or _TEMPORARY.fullmatch(n)) and n not in kept]


def _parse(name: str, data: bytes) -> dict[str, Untyped]:
    found = _NAME.fullmatch(name)
    assert found is not None, name
    if hashlib.sha256(data).hexdigest() != found[3]:
        raise _Corrupt(f"its {len(data)} bytes don't match the checksum in its name")
    try:
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever its parser trips over, the file is no checkpoint
        raise _Corrupt(f"PyTorch can't read it: {first_line(error)}") from error
    if not isinstance(state, dict):
        raise _Corrupt(f"it holds a {type(state).__name__}, not a state")
    return state


class _Storage(Protocol):
    """Where checkpoints lie. Every method may raise OSError."""

    folder: str

    def path(self, name: str) -> str: ...
    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: memoryview) -> None: ...
    def delete(self, name: str) -> None: ...
    def delete_folder_if_empty(self) -> None: ...


def _storage(folder: str) -> _Storage:
    if "://" not in folder:
        return _LocalFolder(folder)
    if folder.startswith("file://"):
        _, path = _filesystem(folder)
        return _LocalFolder(path)
    return _RemoteFolder(folder)


def _filesystem(uri: str) -> tuple[Untyped, str]:
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(uri)
        return filesystem, str(path)
    except ArrowInvalid as error:
        raise InputError(f"storage: needs a folder or a URI like s3://bucket/folder, got {uri!r}: {error}") from None


class _LocalFolder:
    """A folder of this machine or a mounted one: written under a temporary name, synced, renamed, synced."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._folder = Path(folder)

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def names(self) -> list[str]:
        return [entry.name for entry in self._folder.iterdir()] if self._folder.exists() else []

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, data: memoryview) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_whole(self._folder / name, data, outlives_power_cut=True)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def delete_folder_if_empty(self) -> None:
        if self._folder.exists() and not any(self._folder.iterdir()):
            self._folder.rmdir()


class _RemoteFolder:
    """A folder of an object store, by PyArrow as in Ray. Opened when first used, as opening asks the network.

    An object appears under its name when its upload ends; one torn by an error shows by its checksum.
    """

    def __init__(self, uri: str) -> None:
        self.folder = uri.rstrip("/")
        self._opened: tuple[Untyped, str] | None = None

    def _open(self) -> tuple[Untyped, str]:
        if self._opened is None:
            self._opened = _filesystem(self.folder)
        return self._opened

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def names(self) -> list[str]:
        store, base = self._open()
        found = store.get_file_info(arrow_fs.FileSelector(base, allow_not_found=True))
        return [info.base_name for info in found if info.is_file]

    def read(self, name: str) -> bytes:
        store, base = self._open()
        with store.open_input_stream(f"{base}/{name}") as stream:
            data: bytes = stream.read()
        return data

    def write(self, name: str, data: memoryview) -> None:
        store, base = self._open()
        store.create_dir(base, recursive=True)
        temporary = f"{base}/.{name}.tmp"
        try:
            with store.open_output_stream(temporary) as stream:
                stream.write(data)
            store.move(temporary, f"{base}/{name}")
        except OSError:
            if store.get_file_info(temporary).is_file:
                store.delete_file(temporary)
            raise

    def delete(self, name: str) -> None:
        store, base = self._open()
        store.delete_file(f"{base}/{name}")

    def delete_folder_if_empty(self) -> None:
        store, base = self._open()
        if not store.get_file_info(arrow_fs.FileSelector(base, allow_not_found=True)):
            store.delete_dir(base)
