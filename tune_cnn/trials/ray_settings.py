"""Ray's environment: what must stand there before ray is imported, each with its reason."""

import os
from pathlib import Path

_SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` makes every worker build an environment of its own
    "RAY_USAGE_STATS_ENABLED": "0",  # closed by default: no reports to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default, said so that Ray does not warn of tomorrow's
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
    """Set what the user has not set otherwise."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if _has_token():
        # As `ray start` does by itself where a token exists, and `ray.init(address=…)` doesn't (Ray 2.60): a driver
        # without it is refused by its own cluster. A cluster without authentication ignores it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or path.is_file()


apply()
