"""How `tune-cnn` is started in the user's shell, for the commands that messages name."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = "tune-cnn"


def as_started() -> tuple[str, ...]:
    """The words that start `tune-cnn` in the user's shell: those that have started it now."""
    return started_by(sys.argv[0], os.environ)


def started_by(program: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """`program`: how this process was started, as `sys.argv[0]` has it.

    What runs below `uv run` hears of it by UV_RUN_RECURSION_DEPTH; of uv's own variables it is the one that activating
    an environment doesn't set too. Whatever else was started there inherits it, a shell (`uv run bash`) or a
    notebook's kernel, and then `tune-cnn` is on that shell's path as well. `uv run tune-cnn` is right for all of them:
    uv is on the path inside and outside, and finds the same project, while plain `tune-cnn` is found inside alone.
    But for a process of another environment than uv's, activated or chosen for a kernel: uv would not start this
    tune-cnn there.
    """
    uv = ("uv", "run") if _is_uvs(environment) else ()
    path = environment.get("PATH")
    if Path(program).parts[-2:] == ("tune_cnn", "__main__.py"):
        python = "python" if uv or _is(shutil.which("python", path=path), sys.executable) else sys.executable
        return (*uv, python, "-m", "tune_cnn")
    if uv:
        return (*uv, COMMAND)
    found = shutil.which(COMMAND, path=path)
    if Path(program).name == COMMAND:
        return (COMMAND,) if os.sep not in program or _is(found, program) else (program,)
    return (COMMAND,) if found else (sys.executable, "-m", "tune_cnn")  # from Python: a script, a notebook


def _is_uvs(environment: Mapping[str, str]) -> bool:
    return "UV_RUN_RECURSION_DEPTH" in environment and _is(environment.get("VIRTUAL_ENV"), sys.prefix)


def _is(found: str | None, path: str) -> bool:
    """Not resolved: the python of an environment is a link to another one's."""
    return found is not None and Path(found).absolute() == Path(path).absolute()
