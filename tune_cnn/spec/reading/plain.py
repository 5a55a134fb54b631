"""Plain data: what YAML and JSON can hold, and nothing that a store or another node couldn't read back."""

import math
from collections.abc import Mapping
from pathlib import PurePath

from tune_cnn.errors import SpecError
from tune_cnn.spec.dimensions import Dimension
from tune_cnn.spec.messages import shown
from tune_cnn.untyped import Plain


def plain(value: object, key: str = "") -> Plain:
    """A copy in plain types (tuples are lists, paths text); SpecError for what is none, NaN and infinity among it."""
    where = f"{key}: " if key else ""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"{where}must be a finite number, got {float(value)}")
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Dimension):
        return plain(value.as_plain(), key)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise SpecError(f"{where}a key must be text, got {shown(name)}; put it in quotes")
        return {str(name): plain(v, f"{key}.{name}" if key else str(name)) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, key) for v in value]
    raise SpecError(f"{where}must be text, a number, true, false, a list or a mapping, got {shown(value)}")
