"""The environment of the server's process: all that MLflow reads there, set by us or taken out.

The names with an underscore are those by which `mlflow server` tells its workers; tests compare them with MLflow's.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from mlflow_server.settings import Settings

ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
USERS_DATABASE = "MLFLOW_SERVER_USERS_DATABASE"  # ours, for the workers
# Cached: a password is checked by hashing, tens of milliseconds a request. After 30 s a change counts in all workers.
AUTH_INI = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite://
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
auth_cache_ttl_seconds = 30
"""

# Of MLflow's own variables those that reach the server: access to artifact stores, and sizes. All others could undo
# what is set here (MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE=true …).
LET_THROUGH = (
    "MLFLOW_S3_",
    "MLFLOW_BOTO_",
    "MLFLOW_GCS_",
    "MLFLOW_SQLALCHEMYSTORE_POOL_",
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT",
    "MLFLOW_MULTIPART_",
    "MLFLOW_LOGGING_LEVEL",
)
# What MLflow and uvicorn read of the environment.
SERVERS = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "prometheus_multiproc_dir")
# Read by us and handed over as settings.
OURS = (
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_ARTIFACTS_DESTINATION",
    "MLFLOW_AUTH_ADMIN_USERNAME",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
)
# Of clients: they say nothing about a server, and many shells have them.
CLIENTS = ("MLFLOW_TRACKING_", "MLFLOW_EXPERIMENT_", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_", "MLFLOW_DISABLE_TELEMETRY")


def cleaned(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment without what could change the server, and the names to tell the user that they don't count."""
    strange = {name for name in environment if name.startswith(SERVERS) and not name.startswith(LET_THROUGH)}
    kept = {name: value for name, value in environment.items() if name not in strange}
    # The server's process doesn't look into the working directory for modules: anything may lie there
    package = str(Path(__file__).parents[1])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    # MLflow's own choice of middleware, which every process of the server would else complain of
    kept["PYTHONWARNINGS"] = ",".join(
        filter(None, [environment.get("PYTHONWARNINGS"), "ignore:starlette.middleware.wsgi"])
    )
    return kept, sorted(name for name in strange if name not in OURS and not name.startswith(CLIENTS))


def server_variables(settings: Settings, *, auth_ini: Path, secret_key: str, webhook_key: str) -> dict[str, str]:
    """What is set in the server's process before it imports MLflow."""
    variables = {
        "_MLFLOW_SERVER_FILE_STORE": settings.backend_url,
        "_MLFLOW_SERVER_REGISTRY_STORE": settings.backend_url,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(settings.hosts),
        ORIGINS: ",".join(settings.origins),
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "SAMEORIGIN",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
        "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
        "MLFLOW_ENABLE_WORKSPACES": "false",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_SERVER_ENABLE_GRAPHQL_AUTH": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret_key,
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": webhook_key,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    if settings.closed:
        variables[USERS_DATABASE] = settings.users_url
        variables["MLFLOW_AUTH_CONFIG_PATH"] = str(auth_ini)
        variables["_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED"] = "true"
    return variables
