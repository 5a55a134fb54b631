"""Ray's settings, each with its reason: they hold whether ray is imported before this module or after it."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tune_cnn.as_found import restore_environment

HASH_SEED = {"PYTHONHASHSEED": "0"}  # else the order of a set of names, and a split by it, is each process's own

_SETTINGS = {
    **HASH_SEED,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` makes every worker build an environment of its own
    "RAY_USAGE_STATS_ENABLED": "0",  # closed by default: no reports to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default, said so that Ray does not warn of tomorrow's
    # Else Ray ends a driver whose head is away for 60 s, without a word of ours: `watch` does it, and says what to do
    "RAY_gcs_rpc_server_reconnect_timeout_s": "150",
    "RAY_worker_niceness": "0",  # else trials have niceness 15, and any other work on the machine stretches their times
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # our paths are absolute; the user's code finds its working directory
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: Tune prints nothing, the display is ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the store is the record
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends at the epoch
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # Tune's snapshots are written in place and can tear (ray#58179)
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a trial's end is told once, by us
    "TUNE_RESULT_BUFFER_LENGTH": "1",  # a result counts when it is stored, one by one
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",  # checked before the start, said by us
}


def apply() -> None:
    """Set what the user has not set otherwise; who calls it takes it back when Ray has ended (`left_as_found`).

    Ray looks into the environment when it needs a setting, and keeps one of these as it was at its import.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        name = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
        setattr(constants, name, constants.env_bool(name, True))


@contextmanager
def authenticated_as(address: str) -> Iterator[None]:
    """While a cluster is joined: with the token, where there is one and the cluster asks for it; else without.

    `ray start` takes a token by itself where one exists, and `ray.init(address=…)` doesn't (Ray 2.60): its own cluster
    would refuse the driver. With a token, in turn, an open cluster can't call the driver back, and every actor dies.
    """
    if "RAY_AUTH_MODE" in os.environ or not _has_token():
        yield
        return
    asked = [sys.executable, "-P", "-m", "ray.scripts.scripts", "status", "--address", address]
    without = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    with suppress(subprocess.TimeoutExpired):
        is_open = subprocess.run(asked, env=without, capture_output=True, timeout=60, check=False).returncode == 0
        os.environ["RAY_AUTH_MODE"] = "disabled" if is_open else "token"
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_MODE", None)


def make_token() -> None:
    """Before a Ray is started here. Its ports are open to other machines, and who has the token may run code by them:
    Ray would write it, where there is none, into a file that everyone on this machine may read.

    Where the home can't be written, or isn't there, this Ray has a token of its own, in the environment.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    token = secrets.token_hex(32)
    path = _token_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_once(path, token)
        path.chmod(0o600)
    except OSError:
        if not os.access(path, os.R_OK):
            os.environ["RAY_AUTH_TOKEN"] = token


def _write_once(path: Path, token: str) -> None:
    """The file appears whole, unless it is there: another start may read it at this very moment."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    try:
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()


def token() -> str | None:
    """The cluster's token as Ray would find it in this process; None where there is none that can be read."""
    given = os.environ.get("RAY_AUTH_TOKEN")
    with suppress(OSError):
        given = given or _token_path().read_text(encoding="utf-8")
    return (given or "").strip() or None


def _has_token() -> bool:
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or _token_path().is_file()


def _token_path() -> Path:
    """Where Ray looks; a place that can't be, where this user has no home."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return Path(named) if named else Path.home() / ".ray" / "auth_token"
    except RuntimeError:  # no HOME, and no entry of this user's in the system's list
        return Path(os.devnull) / "auth_token"


_found = dict(os.environ)
apply()
import ray  # noqa: E402, F401  (it reads some of the settings once, as it is imported)

restore_environment(_found)  # an import is no search yet, and Ray's own leaves a variable too
