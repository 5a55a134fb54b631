"""The words that start `tune-cnn` again: as this process was started."""

import sys
from pathlib import Path

from tune_cnn.started import started_by

PLAIN = ("tune-cnn",)


def _installed(folder: Path) -> Path:
    """A folder of commands with a `tune-cnn` among them."""
    command = folder / "bin" / "tune-cnn"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return command


def test_a_command_is_typed_as_this_one_was(tmp_path: Path) -> None:
    """By its name where the shell's path leads to this very one, else by its path; by Python where that started it."""
    command = _installed(tmp_path)
    path = {"PATH": str(command.parent)}
    assert started_by(str(command), path) == started_by("tune-cnn", path) == PLAIN
    assert started_by(str(command), {"PATH": "/nowhere"}) == (str(command),)
    assert started_by("/site/tune_cnn/__main__.py", path) == (sys.executable, "-m", "tune_cnn")
    activated = {"PATH": str(Path(sys.executable).parent)}
    name = "python" if (Path(sys.executable).parent / "python") == Path(sys.executable) else sys.executable
    assert started_by("/site/tune_cnn/__main__.py", activated) == (name, "-m", "tune_cnn")


def test_from_a_script_or_notebook_the_command_is_one_that_there_is(tmp_path: Path) -> None:
    """`tune-cnn` where the path has it, else this Python's own."""
    assert started_by("/some/script.py", {"PATH": str(_installed(tmp_path).parent)}) == PLAIN
    assert started_by("/some/script.py", {"PATH": "/nowhere"}) == (sys.executable, "-m", "tune_cnn")


def test_below_uv_run_it_is_uv_that_finds_the_command(tmp_path: Path) -> None:
    """Also where a shell in between has `tune-cnn` on its path; not for another environment than uv's."""
    command = _installed(tmp_path)
    by_uv = {"PATH": str(command.parent), "UV_RUN_RECURSION_DEPTH": "1", "VIRTUAL_ENV": sys.prefix}
    assert started_by(str(command), by_uv) == started_by("/some/script.py", by_uv) == ("uv", "run", "tune-cnn")
    assert started_by("/site/tune_cnn/__main__.py", by_uv) == ("uv", "run", "python", "-m", "tune_cnn")
    assert started_by(str(command), {**by_uv, "VIRTUAL_ENV": "/another"}) == PLAIN
