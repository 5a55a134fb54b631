"""What the first slot is asked before any trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_cnn.spec.calls import resolve


@dataclass(frozen=True, kw_only=True)
class FirstCall:
    """`package.module:function` with its arguments; plain data that crosses processes."""

    path: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        return resolve(self.path)(*self.args, **self.kwargs)
