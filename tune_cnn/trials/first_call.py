"""What the first slot is asked before any trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_cnn.spec.calls import resolve
from tune_cnn.untyped import Untyped


@dataclass(frozen=True, kw_only=True)
class FirstCall:
    """`package.module:function` with its arguments; plain data that crosses processes."""

    path: str
    args: tuple[Untyped, ...] = ()
    kwargs: Mapping[str, Untyped] = field(default_factory=dict)

    def __call__(self) -> Untyped:
        return resolve(self.path)(*self.args, **self.kwargs)
