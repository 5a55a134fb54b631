"""A PostgreSQL server of the tests' own, where the machine has one."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from missing import missing


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, where there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/nowhere")]
    return found[-1].parent if found[-1].exists() else None


@contextmanager
def postgres(address: str = "") -> Iterator[str]:
    """The URL of a server on a socket in a folder only, or also at `address`; it refuses to run as root."""
    programs = binaries()
    if programs is None:
        missing("PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin or on the path")
    try:
        import psycopg  # noqa: F401  (whether it is there)
    except ImportError:
        missing("the driver psycopg is not installed")
    as_user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 characters at most
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            missing("PostgreSQL refuses to run as root, and there is no user postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*command: str) -> None:
        with (folder.parent / f"{folder.name}.log").open("a") as out:  # pg_ctl's server would keep a pipe open
            subprocess.run(command, check=True, cwd="/tmp", stdout=out, stderr=out, **as_user)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "tester", "--no-sync")
    if address:
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 trust\n")
    options = f"-k {folder} -c listen_addresses='{address}' -c fsync=off"
    run(str(programs / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """See postgres()."""
    with postgres() as url:
        yield url
