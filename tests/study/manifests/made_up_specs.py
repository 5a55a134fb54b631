"""Specs and wishes for manifests."""

from pathlib import Path
from typing import Any

from tune_cnn.spec import parse_spec
from tune_cnn.study.manifests.asked import Asked, Source

SPEC: dict[str, Any] = {
    "study": "small",
    "data": {"name": "digits", "root": "/nowhere"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 3, "batch_size": [64, 128], "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
    "budget": {"trials": 4},
}


def source(resources: dict[str, Any] | None = None, **changed: Any) -> Source:
    spec = parse_spec({**SPEC, "resources": {"gpus_per_rank": 0, **(resources or {})}, **changed})
    return Source(named="/specs/small.yaml", overrides=(), spec=spec)


def asked(**changed: Any) -> Asked:
    return Asked(**{"programs": Path("/opt/env/bin"), "folder": Path("/work"), **changed})
