"""What other work took of a thread's time is read where the system tells it, and is absent elsewhere."""

from pathlib import Path

import pytest

from tune_cnn.training.profiling.other_work import ready_but_waiting_s, taken_pct


def test_the_systems_count_is_read_in_seconds(tmp_path: Path) -> None:
    """Run, ready but waiting, turns."""
    (tmp_path / "schedstat").write_text("5000000000 1500000000 77\n", encoding="ascii")
    assert ready_but_waiting_s(tmp_path / "schedstat") == 1.5


@pytest.mark.parametrize("text", [None, "", "0\n", "no number at all\n"])
def test_a_system_that_does_not_tell_gives_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "schedstat").write_text(text, encoding="ascii")
    assert ready_but_waiting_s(tmp_path / "schedstat") is None
    assert taken_pct(None, 1.0, 2.0) is None


def test_the_share_is_of_the_stretch() -> None:
    assert taken_pct(1.0, 1.5, 2.0) == 25
    assert taken_pct(1.0, 9.0, 2.0) == 100
    assert taken_pct(1.0, 1.0, 0.0) is None
