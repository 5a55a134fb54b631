"""Databases, artifact store and administrator made ready, then MLflow under uvicorn; imports MLflow."""

import logging
import socket
from collections.abc import Callable

from mlflow.server.handlers import initialize_backend_stores
from uvicorn import Config, Server
from uvicorn.supervisors import Multiprocess

from mlflow_server.databases import TRACKING, USERS, bring_up_to_date, has_tables
from mlflow_server.errors import WrongInput
from mlflow_server.settings import Settings
from mlflow_server.stores import try_artifacts
from mlflow_server.untyped import Plain
from mlflow_server.users import ensure_admin

GRACE_S = 10  # for requests under way when the server is stopped
WORKER_ANSWERS_WITHIN_S = 60  # importing MLflow holds a worker up for seconds, on a busy machine for tens of them
LOGGING: dict[str, Plain] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}


def run(settings: Settings, listener: socket.socket, report: Callable[[str], None]) -> None:
    """Returns when the server was stopped."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    bring_up_to_date(settings.backend_url, settings.backend_shown, TRACKING, report)
    try_artifacts(settings.artifacts)
    if settings.closed:
        bring_up_to_date(settings.users_url, settings.users_shown, USERS, report)
        ensure_admin(settings, report)
    else:
        refuse_users(settings)
    initialize_backend_stores(settings.backend_url, settings.backend_url, "mlflow-artifacts:/")
    serve(settings, listener)


def refuse_users(settings: Settings) -> None:
    """A server that once had users must not lose its lock because an option was forgotten."""
    if has_tables(settings.users_url, USERS):
        raise WrongInput(
            f"{settings.users_shown}: has users, so this server asks for passwords; give the administrator's by "
            "--admin-password-file or MLFLOW_AUTH_ADMIN_PASSWORD"
        )


def serve(settings: Settings, listener: socket.socket) -> None:
    config = Config(
        f"mlflow_server.{'app_closed' if settings.closed else 'app_open'}:create_app",
        factory=True,
        workers=settings.workers,
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody is believed about where he comes from
        timeout_graceful_shutdown=GRACE_S,
        timeout_worker_healthcheck=WORKER_ANSWERS_WITHIN_S,
    )
    if settings.workers == 1:
        Server(config).run(sockets=[listener])
    else:
        Multiprocess(config, sockets=[listener]).run()
