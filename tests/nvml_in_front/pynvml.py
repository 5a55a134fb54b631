"""In front of pynvml on the path of a test's processes: the real module, its node in the file of NVML_IN_A_FILE."""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HERE = str(Path(__file__).parent)
_spec = PathFinder.find_spec("pynvml", [folder for folder in sys.path if folder != _HERE])
assert _spec is not None and _spec.loader is not None
_real = importlib.util.module_from_spec(_spec)
sys.modules["pynvml"] = _real
_spec.loader.exec_module(_real)

from nvml_in_a_file import NvmlInAFile  # noqa: E402  (it imports pynvml, which is the real one by now)

for _name, _function in NvmlInAFile(Path(os.environ["NVML_IN_A_FILE"])).functions().items():
    setattr(_real, _name, _function)
