"""A trial as the report needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_cnn.states import TrialState
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    number: int
    params: Mapping[str, Plain]
    state: TrialState
    reason: str | None = None  # why it ended before its time, in words
    metrics: Mapping[str, float] = field(default_factory=dict)  # of its last epoch point; empty where it has none
