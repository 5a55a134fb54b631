"""What a server is started with: options and environment in, checked settings out; nothing is started here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_server.addresses import Address, exact_hosts
from mlflow_server.backends import HIDDEN, Backend, hide_password, parse_backend, sqlite_backend
from mlflow_server.errors import WrongInput
from mlflow_server.secret_files import check_password, read_secret


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stands on the command line."""

    host: str
    port: int
    folder: Path
    backend: str | None
    backend_password_file: Path | None
    artifacts: str | None
    admin: str | None
    admin_password_file: Path | None
    allowed_hosts: str | None
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server's process reads from a pipe: nothing of it stands in an argument."""

    folder: str
    backend_url: str = field(repr=False)
    backend_shown: str
    users_url: str = field(repr=False)
    users_shown: str
    artifacts: str
    admin: str | None  # None: no authentication
    admin_password: str | None = field(repr=False)
    hosts: list[str]  # Host headers that are let in
    origins: list[str]
    workers: int

    @property
    def closed(self) -> bool:
        return self.admin is not None

    def secrets(self) -> list[str]:
        """What no log may show."""
        urls = [url for url in (self.backend_url, self.artifacts) if "://" in url]
        passwords = [urlsplit(url).password for url in urls]
        return [secret for secret in [*map(unquote, filter(None, passwords)), self.admin_password] if secret]


@dataclass(frozen=True, kw_only=True)
class Login:
    """The administrator."""

    user: str
    password: str = field(repr=False)


def admin_name(given: str | None, environment: Mapping[str, str]) -> str:
    user = given or environment.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
    if ":" in user or not user.isprintable() or user != user.strip():
        raise WrongInput(f"--admin: must be a name without a colon, got {user!r}; HTTP's authentication can't carry it")
    return user


def login(options: Options, environment: Mapping[str, str]) -> Login | None:
    """The administrator's name and password, from file or environment; None where neither has one."""
    user = admin_name(options.admin, environment)
    if options.admin_password_file is not None:
        password: str | None = read_secret(options.admin_password_file, "--admin-password-file")
    else:
        password = environment.get("MLFLOW_AUTH_ADMIN_PASSWORD")
    if password is None:
        return None
    return Login(user=user, password=check_password(password, user))


def closed_or_refuse(address: Address, options: Options, admin: Login | None, hosts: list[str]) -> None:
    """Reached from other machines, a server must ask for a password and know its names."""
    if address.is_loopback:
        return
    lacking = []
    if admin is None:
        lacking.append("the administrator's password (--admin-password-file FILE, or MLFLOW_AUTH_ADMIN_PASSWORD)")
    if not hosts:
        lacking.append("the names by which clients call it (--allowed-hosts mlflow.example.com)")
    if lacking:
        raise WrongInput(
            f"--host {options.host}: other machines reach the server there, so it also needs {' and '.join(lacking)}; "
            "or leave --host out: 127.0.0.1 serves this machine only"
        )


def hosts_of(options: Options, environment: Mapping[str, str]) -> list[str]:
    given = options.allowed_hosts or environment.get("MLFLOW_SERVER_ALLOWED_HOSTS")
    return exact_hosts(given) if given else []


def backend_of(options: Options, environment: Mapping[str, str]) -> Backend:
    """The database: --backend, else MLflow's own variable, else a file in the folder."""
    password = None
    if options.backend_password_file is not None:
        password = read_secret(options.backend_password_file, "--backend-password-file")
    given = options.backend or environment.get("MLFLOW_BACKEND_STORE_URI")
    if given is None:
        if password is not None:
            raise WrongInput("--backend-password-file: without --backend the database is SQLite, which has no password")
        return sqlite_backend(options.folder / "mlflow.db")
    return parse_backend(given, password, on_command_line=options.backend is not None)


def artifacts_of(options: Options, environment: Mapping[str, str]) -> str:
    """The artifact store: any of MLflow's, by URI; a folder by default."""
    given = options.artifacts or environment.get("MLFLOW_ARTIFACTS_DESTINATION")
    if given is None:
        return str((options.folder / "artifacts").absolute())
    if "://" in given:
        if HIDDEN in hide_password(given) and options.artifacts is not None:
            raise WrongInput(
                "--artifacts: holds a password, which everyone on this machine can read in the process list; "
                "give the URI in the environment variable MLFLOW_ARTIFACTS_DESTINATION"
            )
        if given.startswith(("http://", "https://", "mlflow-artifacts://", "runs://", "models://")):
            raise WrongInput(
                f"--artifacts: must be the place where the files lie, got {given}, which is another server; "
                "give a folder, or a store as in s3://bucket/path"
            )
        return given
    return str(Path(given).absolute())
