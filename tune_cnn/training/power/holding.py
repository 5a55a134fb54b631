"""Hold a node's GPUs at a power limit for a phase of a search; restore what they had, at once or at the next start."""

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pynvml

from tune_cnn.errors import ResourceError, TrialError
from tune_cnn.training.power.gpus import (
    KEY,
    LEAVE_OUT,
    Gpu,
    by_uuid,
    check_limitable,
    milliwatts,
    nvml_open,
    visible_gpus,
    why_refused,
)
from tune_cnn.training.power.records import Record, recorded, state_folder

_log = logging.getLogger(__name__)
PATIENCE_S = 10.0  # with a lock: Ray's processes of a search that was killed end within a few seconds


class PowerHolder:
    """Holds the limits of all GPUs that this process sees. Made on their node, by one process of a search.

    A limit outlives who set it. So what it was is written down before, and stays so until it is restored.
    """

    def __init__(self, folder: Path | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._folder = folder if folder is not None else state_folder()
        self._patience_s = patience_s
        self._open = ExitStack()  # NVML: without a client the driver may unload and forget the limits
        self._held: list[tuple[Gpu, Record]] = []

    def hold(self, watts: float, phases: Sequence[float]) -> None:
        """Limit every GPU to `watts` from now on.

        ResourceError, with all as it was, where that can't be, or will not be in one of the study's `phases`.
        """
        try:
            if not self._held:
                self._take(phases)
            for gpu, record in self._held:
                record.keep(gpu.limit_mw)
                gpu.limit(milliwatts(watts))
                _check_taken(gpu, watts)
        except BaseException as error:
            self.release()
            if isinstance(error, pynvml.NVMLError):
                raise ResourceError(why_refused(error)) from None
            if isinstance(error, OSError):
                raise ResourceError(
                    f"{KEY}: what the limits were can't be written down on node {platform.node()}: {self._folder}: "
                    f"{error.strerror or error}; free the place, set XDG_STATE_HOME to another, or {LEAVE_OUT}"
                ) from None
            raise

    def release(self) -> None:
        """Every GPU as it was. Where that fails, its record stays for the next start of a search."""
        held, self._held = self._held, []
        for gpu, record in held:
            _restore(gpu, record)
            record.free()
        self._open.close()

    def _take(self, phases: Sequence[float]) -> None:
        self._open.enter_context(nvml_open())
        gpus = visible_gpus()
        for gpu in gpus:
            check_limitable(gpu, phases)
        for gpu in gpus:
            record = Record.taken(self._folder, gpu.uuid, patience_s=self._patience_s)
            if record is None:
                raise ResourceError(
                    f"{KEY}: another search holds the power limit of {gpu}, and a GPU has one at a time; wait for "
                    f"that search, give each its own GPUs (CUDA_VISIBLE_DEVICES), or {LEAVE_OUT}"
                )
            self._held.append((gpu, record))


def restore_left(folder: Path | None = None, *, patience_s: float = PATIENCE_S) -> list[str]:
    """Restore what searches that were killed have left on this node's GPUs; a line for the user on each."""
    folder = folder if folder is not None else state_folder()
    left = recorded(folder)
    if not left:
        return []
    try:
        with nvml_open():
            return [line for uuid in left for line in _restored(uuid, folder, patience_s)]
    except (pynvml.NVMLError, OSError) as error:
        return [f"power limits that a search has left on node {platform.node()} can't be restored: {error}"]


def check_power_limit(uuid: str, watts: float) -> None:
    """Before a trial: TrialError where its GPU doesn't stand at its phase's limit, as times must not mix."""
    try:
        with nvml_open():
            gpu = by_uuid(uuid)
            stands_mw = gpu.limit_mw
    except pynvml.NVMLError as error:
        raise TrialError(f"power limit: NVML does not tell that of {uuid} on {platform.node()}: {error}") from None
    if stands_mw != milliwatts(watts):
        raise TrialError(
            f"power limit: {gpu} stands at {stands_mw / 1000:g} W, and these trials are to run at {watts:g} W: another "
            "program has changed it, or its node came after the phase began"
        )


def _check_taken(gpu: Gpu, watts: float) -> None:
    stands_mw = gpu.limit_mw
    if stands_mw != milliwatts(watts):
        raise ResourceError(
            f"{KEY}: {gpu} was set to {watts:g} W and stands at {stands_mw / 1000:g} W; end the program that holds it "
            f"there, or {LEAVE_OUT}"
        )


def _restored(uuid: str, folder: Path, patience_s: float) -> Iterator[str]:
    try:
        gpu = by_uuid(uuid)
    except pynvml.NVMLError_NotFound:
        return  # of another node, where homes are shared
    record = Record.taken(folder, uuid, patience_s=patience_s)
    if record is None:
        yield f"another search holds {gpu} at {gpu.limit_mw / 1000:g} W: times measured now are for that limit"
        return
    try:
        left_mw, restored = gpu.limit_mw, _restore(gpu, record)
        by_hand = f"it could not be restored by {record.path}; as root: nvidia-smi -i {gpu.uuid} -pl WATTS"
        now = f"it has {gpu.limit_mw / 1000:g} W again" if restored else by_hand
        yield f"a search that was killed had left {gpu} at {left_mw / 1000:g} W: {now}"
    finally:
        record.free()


def _restore(gpu: Gpu, record: Record) -> bool:
    """Whether the GPU stands as its record says; that goes then."""
    try:
        before_mw = record.limit_mw()
        if before_mw is not None:
            gpu.limit(before_mw)
            record.drop()
    except (pynvml.NVMLError, OSError, ValueError) as error:
        _log.warning("the power limit of %s is not restored as %s says: %s", gpu, record.path, error)
        return False
    return True
