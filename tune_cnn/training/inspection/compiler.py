"""Whether torch.compile can work on a node: it builds code in C there."""

import os
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

SINCE = (7, 0)  # the oldest compute capability that Triton makes code for


def why_no_compiling(*, capability: tuple[int, int] | None) -> str | None:
    """Why torch.compile can't work in this process, on a GPU of that capability or (None) on the CPU; None: it can."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return why_not(
        os.environ,
        capability=capability,
        which=shutil.which,
        headers=headers,
        has_triton=find_spec("triton") is not None,
    )


def why_not(
    environment: Mapping[str, str],
    *,
    capability: tuple[int, int] | None,
    which: Callable[[str], str | None],
    headers: Path,
    has_triton: bool,
) -> str | None:
    """The same from what there is. Triton looks for CC, gcc or clang, and the CPU's code wants CXX or g++."""
    if capability is not None and capability < SINCE:
        return f"it needs a GPU of compute capability 7.0 or newer, and this one has {capability[0]}.{capability[1]}"
    if capability is not None and not has_triton:
        return "the package triton is missing, which comes with torch's builds for CUDA"
    name, usual = ("CC", ("gcc", "clang")) if capability is not None else ("CXX", ("g++",))
    named = environment.get(name, "").split()[:1]
    if not any(which(compiler) for compiler in named or usual):
        language = "C" if capability is not None else "C++"
        looked_for = (
            f"{name}={named[0]} is not there" if named else f"neither {name} is set nor {' or '.join(usual)} there"
        )
        return f"it needs a {language} compiler, and {looked_for}; install one (apt install build-essential)"
    if not headers.is_file():
        return f"it needs Python's headers, and {headers} is not there; install them (apt install python3-dev)"
    return None
