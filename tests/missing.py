"""What a test needs of the machine and doesn't find: skipped on a developer's machine, a failure in the gate."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """.ci/run installs what tests need and sets TUNE_CNN_GATE: nothing may be skipped there for want of it."""
    if os.environ.get("TUNE_CNN_GATE"):
        pytest.fail(f"the gate must have what tests need: {what}", pytrace=False)
    pytest.skip(what)
