"""Find the Pareto front of training a CNN."""

from importlib import import_module
from typing import Any

_PUBLIC = {"Study": "tune_cnn.study.study", "StudySpec": "tune_cnn.spec"}
__all__ = ["Study", "StudySpec"]  # loaded on first use, so that `import tune_cnn` stays instant


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
