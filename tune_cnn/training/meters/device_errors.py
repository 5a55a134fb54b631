"""A device's own faults, as its driver tells of them: Xid errors, and memory that lost bits beyond repair (ECC).

What the Xids mean: NVIDIA, "Xid Errors" (https://docs.nvidia.com/deploy/xid-errors).
"""

from typing import Self

import pynvml

from tune_cnn.errors import HARDWARE
from tune_cnn.untyped import Untyped

# Those that no program brings about: memory (48, 63, 64, 92, 94, 95), NVLink and bus (74, 79), the own processors of a
# card (62, 119, 120, 140). 13 and 31, say, are what a kernel's wrong access leaves.
OF_HARDWARE = {48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120, 140}
MOST_TOLD = 8  # the driver may tell of one fault hundreds of times


class DeviceErrors:
    """Of one device, from now on. Keeps NVML open for as long as the process lives."""

    def __init__(self, handle: Untyped, events: Untyped | None) -> None:
        """`events`: a set that hears of the device's Xids; None: this driver tells of none."""
        self._handle, self._events = handle, events
        self._lost_before = self._lost_bits()

    @classmethod
    def watched(cls, uuid: str) -> Self | None:
        """The device with this UUID (with or without "GPU-"); None where NVML tells nothing of it."""
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        except pynvml.NVMLError:
            return None
        try:
            events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError:  # a slice, a virtual GPU, WSL
            events = None
        return cls(handle, events)

    def in_words(self) -> str | None:
        """What has happened since it was asked last; None: nothing that NVML tells of. Begins with HARDWARE where the
        device itself is at fault."""
        xids, lost = self._xids(), self._lost_bits() - self._lost_before
        self._lost_before += lost
        told = [f"Xid {xid}" for xid in xids] + ([f"{lost} uncorrected ECC errors"] if lost > 0 else [])
        if not told:
            return None
        is_hardware = lost > 0 or not OF_HARDWARE.isdisjoint(xids)
        return f"{HARDWARE if is_hardware else 'the driver tells of'} {', '.join(told)}"

    def _xids(self) -> list[int]:
        found: list[int] = []
        while self._events is not None and len(found) < MOST_TOLD:
            try:
                found.append(int(pynvml.nvmlEventSetWait_v2(self._events, 0).eventData))
            except pynvml.NVMLError:  # none is left, or the device has fallen off its bus
                break
        return list(dict.fromkeys(found))

    def _lost_bits(self) -> int:
        """Uncorrected errors since the driver was loaded; 0 where the device doesn't count them."""
        kind, since = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        try:
            return int(pynvml.nvmlDeviceGetTotalEccErrors(self._handle, kind, since))
        except pynvml.NVMLError:
            return 0
