"""NVML's edge, made up: a node's GPUs stand in a JSON file, so that all its processes see the same ones.

`limits_mw` of a GPU are all that it was ever set to. Everything above these functions is real.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

POWER = (100_000, 350_000)  # the range of a limit, in milliwatts


def gpu(number: int, **changes: Any) -> dict[str, Any]:
    return {"uuid": f"GPU-{number:08d}", "limits_mw": [300_000], "range_mw": POWER, "mig": False, **changes}


class NvmlInAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *gpus: dict[str, Any], root: bool = True) -> None:
        self.path.write_text(json.dumps({"root": root, "gpus": gpus}))

    def limits_w(self) -> list[float]:
        return [one["limits_mw"][-1] / 1000 for one in self._node()["gpus"]]

    def ever_set(self) -> list[int]:
        """How often each was set."""
        return [len(one["limits_mw"]) - 1 for one in self._node()["gpus"]]

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By their names in pynvml."""
        return {
            "nvmlInit": self._init,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self._node()["gpus"]),
            "nvmlDeviceGetHandleByIndex": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetName": lambda handle: "NVIDIA A100-SXM4-40GB",
            "nvmlDeviceGetUUID": lambda handle: self._node()["gpus"][handle]["uuid"],
            "nvmlDeviceGetMigMode": lambda handle: (int(self._node()["gpus"][handle]["mig"]), 0),
            "nvmlDeviceGetPowerManagementLimit": lambda handle: self._node()["gpus"][handle]["limits_mw"][-1],
            "nvmlDeviceGetPowerManagementLimitConstraints": self._range,
            "nvmlDeviceSetPowerManagementLimit": self._set,
        }

    def _node(self) -> Any:
        return json.loads(self.path.read_text())

    def _init(self) -> None:
        if not self.path.exists():
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def _by_index(self, index: int) -> int:
        if index >= len(self._node()["gpus"]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    def _by_uuid(self, uuid: str) -> int:
        for at, one in enumerate(self._node()["gpus"]):
            if one["uuid"] == uuid:
                return at
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def _range(self, handle: int) -> list[int]:
        found: list[int] | None = self._node()["gpus"][handle]["range_mw"]
        if found is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return found

    def _set(self, handle: int, mw: int) -> None:
        node = self._node()
        one = node["gpus"][handle]
        if not node["root"]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        if not one["range_mw"][0] <= mw <= one["range_mw"][1]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        one["limits_mw"].append(one.get("always_mw", mw))
        self.path.write_text(json.dumps(node))
