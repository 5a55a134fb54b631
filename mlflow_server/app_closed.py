"""MLflow's application with authentication, as uvicorn loads it in each worker, behind the guard.

MLflow has no public way to put something in front of its application, nor to be given the users' database other than
in a file, which would then hold its password; tests hold the private names that are used here.
"""

import os

import anyio.to_thread
from mlflow.server import auth
from starlette.requests import Request

from mlflow_server.environment import ORIGINS, USERS_DATABASE
from mlflow_server.guard import App, Guard, Scope
from mlflow_server.parent import stop_with_supervisor


def create_app() -> App:
    stop_with_supervisor()
    auth.auth_config = auth.auth_config._replace(database_uri=os.environ[USERS_DATABASE])
    origins = os.environ[ORIGINS].split(",")
    return Guard(auth.create_app(), origins=origins, knows=_knows, left_open=auth.is_unprotected_route)


async def _knows(scope: Scope) -> bool:
    user = await anyio.to_thread.run_sync(auth._authenticate_fastapi_request, Request(scope))
    return user is not None
