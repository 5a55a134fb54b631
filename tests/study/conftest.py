"""Commands in this process, in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.confirming.made_up_confirming import Training, confirm
from study.made_up import Command, commands_in, make_study


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with commands_in(tmp_path, monkeypatch, capfd) as run:
        yield run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that holds the made-up study."""
    make_study(tmp_path / "studies")
    return tmp_path / "studies"


@pytest.fixture
def confirmed(home: Path) -> Path:
    """The made-up study, its whole front confirmed over three seeds."""
    assert confirm(home, Training())
    return home
