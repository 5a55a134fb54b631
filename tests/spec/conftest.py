"""A small spec to change."""

from collections.abc import Callable
from typing import Any

import pytest

from tune_cnn.spec import StudySpec, parse_spec


@pytest.fixture
def small() -> Callable[..., dict[str, Any]]:
    """Plain data of a valid spec, with sections replaced."""

    def make(**changes: Any) -> dict[str, Any]:
        whole = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 3}}
        return {**whole, **changes}

    return make


@pytest.fixture
def spec(small: Callable[..., dict[str, Any]]) -> Callable[..., StudySpec]:
    return lambda **changes: parse_spec(small(**changes))
