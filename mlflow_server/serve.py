"""The server's own process: it reads its settings from a pipe, sets the environment, then runs MLflow until stopped."""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

from mlflow_server.backends import without_secrets
from mlflow_server.environment import AUTH_INI, server_variables
from mlflow_server.errors import ServerError
from mlflow_server.parent import stop_with
from mlflow_server.secret_files import kept_secret, write_private
from mlflow_server.settings import Settings


def main() -> int:
    given = json.loads(sys.stdin.readline())
    settings = Settings(**given["settings"])
    os.umask(0o077)
    stop_with(given["parent"])
    try:
        prepare_environment(settings)
        # MLflow's modules read the environment as they are imported
        from mlflow_server.running import run

        run(settings, socket.socket(fileno=given["listener"]), report)
    except ServerError as error:
        report(f"Error: {without_secrets(str(error), settings.secrets())}")
        return error.exit_code
    except Exception:
        report(without_secrets(traceback.format_exc(), settings.secrets()))
        return 1
    return 0


def prepare_environment(settings: Settings) -> None:
    folder = Path(settings.folder)
    ini = folder / "auth.ini"
    write_private(ini, AUTH_INI)
    variables = server_variables(
        settings,
        auth_ini=ini,
        secret_key=kept_secret(folder / "flask.key"),
        webhook_key=kept_secret(folder / "webhooks.key"),
    )
    os.environ.update(variables)
    os.chdir(folder)  # what a library writes beside itself lands here


def report(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
