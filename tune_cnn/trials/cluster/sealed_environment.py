"""What the nodes of a cluster need of the driver's environment and nobody may see, as Ray keeps and shows `env_vars`.

It stands there sealed with the cluster's token, and each of the search's processes opens it as it starts.
"""

import os

from tune_cnn.spec.addresses import QUERY
from tune_cnn.trials import ray_settings  # (before ray)
from tune_cnn.trials.sealing import seal, unseal
from tune_cnn.untyped import Plain

SEALED = "TUNE_CNN_SEALED"
NAMES = (QUERY,)


def carry_sealed(runtime_env: dict[str, Plain]) -> None:
    """Add it to what is brought to the nodes. A cluster without a token gets nothing: whoever reaches it could read."""
    secrets = {name: os.environ[name] for name in NAMES if os.environ.get(name)}
    token = ray_settings.token() if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else None
    if secrets and token:
        runtime_env["env_vars"][SEALED] = seal(secrets, token).decode()
        runtime_env["worker_process_setup_hook"] = f"{__name__}.{open_sealed.__name__}"


def open_sealed() -> None:
    """First act of a process of the search on whatever node. InputError where another token has sealed it."""
    sealed = os.environ.pop(SEALED)
    os.environ.update(unseal(sealed.encode(), ray_settings.token() or ""))
