"""What turnaround.py keeps of its runs; the runs themselves are rehearse.py's."""

import json
import sys
import venv
from pathlib import Path

import pytest
import turnaround
from contest import Epoch, Task, Trace


def trace(system: str, repeat: int, exit_code: int = 0) -> Trace:
    """Two trials of 2 s each, one after another, ours in half of the wall."""
    step_s = 2.0 if system == "tune_cnn" else 4.0
    epochs = [
        Epoch(trial=str(t), epoch=1, config={}, accuracy=0.9, train_time_s=2.0, at_s=10.0 + step_s * (t + 1))
        for t in range(2)
    ]
    return Trace(
        system=system,
        repeat=repeat,
        started_s=5.0,
        exited_s=30.0,
        first_step_s=10.0,
        epochs=epochs,
        exit_code=exit_code,
        budget_s=100.0,
    )


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's command without --environment; a bare one in place of that with the rivals, and made-up runs.

    The rival's second run fails.
    """

    def bare(folder: Path) -> Path:
        venv.create(folder, symlinks=True)
        return folder / "bin" / "python"

    def run_ours(task: Task, *, repeat: int, extra: dict[str, str]) -> Trace:
        return trace("tune_cnn", repeat)

    def run_rival(name: str, python: Path, task: Task, *, repeat: int) -> Trace:
        assert python.exists()
        return trace(name, repeat, exit_code=repeat)

    monkeypatch.setattr(turnaround, "environment", bare)
    monkeypatch.setattr(turnaround, "run_ours", run_ours)
    monkeypatch.setattr(turnaround, "run_rival", run_rival)
    path = tmp_path / "turnaround.json"
    monkeypatch.setattr(sys, "argv", ["turnaround.py", "--root", str(tmp_path), "--rivals", "r3", "--out", str(path)])
    return path


def test_it_ends_well_without_an_environment_that_is_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rivals' versions are asked for while their environment stands."""
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--repeats", "1"])
    turnaround.main()
    kept = json.loads(out.read_text())
    assert kept["machine"]["rivals_versions"] == {}  # none is installed in a bare one
    assert [row["× wall_s"] for row in kept["table"]] == ["1.0", "2.0"]


def test_what_ran_before_a_failure_is_kept(out: Path) -> None:
    """And where it is, the command says as it ends."""
    with pytest.raises(SystemExit, match=r"r3, repeat 1: exit code 1; .*turnaround\.json"):
        turnaround.main()
    kept = json.loads(out.read_text())
    assert {name: len(runs) for name, runs in kept["runs"].items()} == {"tune_cnn": 2, "r3": 1}
    assert kept["runs"]["r3"][0]["wall_s"] == 8.0
    assert [row["n"] for row in kept["table"]] == [2, 1]
