"""The optimizers that a space may name, and what tells them apart before there is a model."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from tune_cnn.errors import nearest

SCHEDULE_FREE = frozenset({"schedule_free_sgd", "schedule_free_adamw"})
OPTIMIZERS = ("sgd", "adamw", "muon", "sam", "lamb", "lars", "schedule_free_sgd", "schedule_free_adamw")
OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")  # package.module:name
WITH_MOMENTUM = frozenset({"sgd", "muon", "sam", "lars"})


def is_own(name: str) -> bool:
    """Whether a name is that of the user's own code."""
    return OWN.fullmatch(name) is not None


def _optimizer(name: str) -> str:
    if name in OPTIMIZERS or is_own(name):
        return name
    hint = nearest(name, OPTIMIZERS)
    raise ValueError(
        f"must be {', '.join(OPTIMIZERS)} or your own as package.module:name, got {name!r}"
        + (hint if hint.startswith("; did") else "")  # else it lists the names once more
    )


Optimizer = Annotated[
    str,
    AfterValidator(_optimizer),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": list(OPTIMIZERS)}, {"type": "string", "pattern": f"^{OWN.pattern}$"}]}
    ),
]
