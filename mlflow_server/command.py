"""The command `tune-cnn server`: options in, exit code out."""

import argparse
import json
import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from mlflow_server.addresses import bind, host_headers, origins, resolve
from mlflow_server.backends import hide_password, sqlite_backend
from mlflow_server.check import check
from mlflow_server.environment import cleaned
from mlflow_server.errors import ServerError, WrongInput
from mlflow_server.secret_files import private_folder, read_secret
from mlflow_server.settings import (
    Login,
    Options,
    Settings,
    admin_name,
    artifacts_of,
    backend_of,
    closed_or_refuse,
    hosts_of,
    login,
)
from mlflow_server.supervisor import Ended, alone, notify_systemd, run
from mlflow_server.untyped import Plain

DESCRIPTION = """Start MLflow's tracking server with safe settings, or ask a running one whether it is ready (--check).
It serves this machine only, unless --host says otherwise; that needs a password and the exact names of the server."""
EPILOG = """Passwords come from files that only you can read, or from the environment (MLFLOW_AUTH_ADMIN_PASSWORD,
MLFLOW_BACKEND_STORE_URI; for --check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD), never from arguments.
Exit codes: 0 stopped, or ready · 1 failed while running, or not ready · 2 wrong input."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongInput(f"{message}; {self.prog} --help lists the options")


def parser(prog: str) -> argparse.ArgumentParser:
    made = _Parser(prog=prog, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add = made.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only, 127.0.0.1)")
    add("--port", type=_port, default=5000, help="port to listen on; 0: any free one (default: 5000)")
    add("--allowed-hosts", metavar="NAMES", help="exact names by which clients call the server, comma-separated")
    add(
        "--folder",
        type=Path,
        default=Path("mlflow-server"),
        help="database, artifacts and keys (default: ./mlflow-server)",
    )
    add(
        "--backend",
        metavar="URL",
        help="sqlite:///FILE or postgresql://USER@HOST/DATABASE (default: SQLite in --folder)",
    )
    add("--backend-password-file", type=Path, metavar="FILE", help="password of the PostgreSQL user")
    add("--artifacts", metavar="URI", help="folder, s3://…, gs://…, any store of MLflow's (default: in --folder)")
    add("--admin", metavar="NAME", help="administrator's name (default: admin)")
    add("--admin-password-file", type=Path, metavar="FILE", help="administrator's password; switches authentication on")
    add("--workers", type=_workers, help="processes that serve (default: 1 on SQLite, 4 on PostgreSQL)")
    add("--check", nargs="?", const="", metavar="URL", help="write and read database and artifacts of a running server")
    add("--json", action="store_true", dest="as_json", help="one JSON document on stdout")
    add("--debug", action="store_true", help="tracebacks")
    return made


def main(arguments: list[str], prog: str = "tune-cnn server") -> int:
    """Returns the exit code; raises SystemExit(0) after --help."""
    try:
        asked = parser(prog).parse_args(arguments)
    except WrongInput as error:
        return _failed(error)
    try:
        if asked.check is not None:
            _check(asked)
        else:
            _serve(asked)
    except ServerError as error:
        if asked.debug:
            traceback.print_exc()
        return _failed(error)
    return 0


def _serve(asked: argparse.Namespace) -> None:
    """Everything that can be refused is refused before anything starts."""
    options = Options(**{name: getattr(asked, name) for name in Options.__dataclass_fields__})
    address = resolve(options.host, options.port)
    admin = login(options, os.environ)
    hosts = hosts_of(options, os.environ)
    closed_or_refuse(address, options, admin, hosts)
    backend = backend_of(options, os.environ)
    artifacts = artifacts_of(options, os.environ)
    folder = private_folder(options.folder, "--folder").absolute()
    with alone(folder), bind(address, options.host) as listener:
        port = listener.getsockname()[1]
        users = sqlite_backend(folder / "users.db") if backend.is_sqlite else backend
        settings = Settings(
            folder=str(folder),
            backend_url=backend.url,
            backend_shown=backend.shown,
            users_url=users.url,
            users_shown=users.shown,
            artifacts=artifacts,
            admin=admin.user if admin is not None else None,
            admin_password=admin.password if admin is not None else None,
            hosts=host_headers(hosts, port),
            origins=origins(hosts, port),
            workers=options.workers or (1 if backend.is_sqlite else 4),
        )
        ignored = cleaned(os.environ)[1]
        if ignored:
            _report(f"Not taken from the environment: {', '.join(ignored)}")
        url = f"http://{address.url_host}:{port}"
        _report(f"Starting MLflow at {url}, which takes some seconds …")
        shown = {"url": url, "names": hosts, **_places(settings)}
        run(settings, listener, address, os.environ, lambda pid: _ready({**shown, "pid": pid}, asked.as_json))


def _places(settings: Settings) -> dict[str, Plain]:
    return {
        "version": version("mlflow"),
        "authentication": settings.closed,
        "admin": settings.admin,
        "backend": settings.backend_shown,
        "artifacts": hide_password(settings.artifacts),
        "folder": settings.folder,
    }


def _ready(found: dict[str, Plain], as_json: bool) -> None:
    """Said on stdout, once the server answers."""
    if as_json:
        _write(json.dumps(found) + "\n")
    else:
        closed = found["authentication"]
        lines = [
            f"MLflow {found['version']} is ready at {found['url']}",
            f"  clients     export MLFLOW_TRACKING_URI={found['url']}",
            *(
                [f"              export MLFLOW_TRACKING_USERNAME={found['admin']} MLFLOW_TRACKING_PASSWORD=…"]
                if closed
                else []
            ),
            *([f"  names       {', '.join(found['names'])}"] if found["names"] else []),
            *([] if closed else ["  no password: every user of this machine can read and change all runs"]),
            f"  database    {found['backend']}",
            f"  artifacts   {found['artifacts']}",
            f"  folder      {found['folder']}",
            "  stop        Ctrl-C, or SIGTERM",
        ]
        _write("\n".join(lines) + "\n")
    notify_systemd(os.environ)


def _check(asked: argparse.Namespace) -> None:
    url = asked.check or f"http://{resolve(asked.host, asked.port).url_host}:{asked.port}"
    found = check(url, _check_login(asked))
    if asked.as_json:
        _write(json.dumps(found) + "\n")
    else:
        closed = "asks for a password" if found["authentication"] else "without a password"
        _write(
            f"MLflow {found['version']} at {found['url']} is ready ({closed}): database written and read in "
            f"{found['database_s']:.3f} s, artifacts in {found['artifacts_s']:.3f} s\n"
        )


def _check_login(asked: argparse.Namespace) -> Login | None:
    """Who asks: as an administrator of the server, or as any client of MLflow's."""
    if asked.admin_password_file is not None:
        password = read_secret(asked.admin_password_file, "--admin-password-file")
        return Login(user=admin_name(asked.admin, os.environ), password=password)
    user, secret = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return Login(user=user, password=secret) if user and secret else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, got {text!r}")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 64):
        raise argparse.ArgumentTypeError(f"must be from 1 to 64, got {text!r}")
    return int(text)


def _failed(error: ServerError) -> int:
    if not (isinstance(error, Ended) and error.said_why):
        _report(f"Error: {error}")
    return error.exit_code


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _report(text: str) -> None:
    sys.stderr.write(text + "\n")
