"""MLflow's application without authentication, as uvicorn loads it in each worker, behind the guard."""

import os

from mlflow.server.fastapi_app import app

from mlflow_server.environment import ORIGINS
from mlflow_server.guard import App, Guard
from mlflow_server.parent import stop_with_supervisor


def create_app() -> App:
    stop_with_supervisor()
    return Guard(app, origins=os.environ[ORIGINS].split(","), knows=None, left_open=lambda path: True)
