"""The server's database as a URL: what it may be, and its password, which no process list and no log shows."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from mlflow_server.errors import WrongInput

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
CONNECT_TIMEOUT_S = 10  # a database that is away is an error after this long; libpq's own default is to wait for ever
HIDDEN = "***"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A database, its password apart from it."""

    shown: str  # URL with the password hidden
    url: str = field(repr=False)  # with the password
    sqlite_file: Path | None  # of SQLite

    @property
    def is_sqlite(self) -> bool:
        return self.sqlite_file is not None


def sqlite_backend(file: Path) -> Backend:
    url = f"sqlite:///{file.absolute()}"
    return Backend(shown=url, url=url, sqlite_file=file.absolute())


def parse_backend(given: str, password: str | None, *, on_command_line: bool) -> Backend:
    """Raises WrongInput for what is no database of MLflow's, and for a password where others can read it."""
    match = URL.fullmatch(given)
    if match is None:
        raise WrongInput(
            f"--backend: must be sqlite:///FILE or postgresql://USER@HOST/DATABASE, got {hide_password(given)!r}"
        )
    scheme = match["scheme"].lower()
    if scheme == "sqlite":
        if password is not None:
            raise WrongInput("--backend-password-file: SQLite has no password; leave it out")
        return _sqlite(match["rest"])
    if scheme in POSTGRES:
        return _postgres(match["rest"], password, on_command_line=on_command_line)
    raise WrongInput(f"--backend: must be sqlite:// or postgresql:// (by psycopg), got {scheme}://")


def _sqlite(rest: str) -> Backend:
    path = rest[1:]
    if not rest.startswith("/") or not path or path == ":memory:" or "?" in path or path.startswith("file:"):
        raise WrongInput(f"--backend: SQLite needs a file as sqlite:///FILE, got sqlite://{rest}")
    return sqlite_backend(Path(path))


def _postgres(rest: str, password: str | None, *, on_command_line: bool) -> Backend:
    place, _, query = rest.partition("?")
    login, at, host = place.rpartition("@")
    user, colon, inside = login.partition(":")
    options = parse_qsl(query, keep_blank_values=True)
    queried = [value for name, value in options if name == "password"]
    if (colon or queried) and on_command_line:
        raise WrongInput(
            "--backend: holds a password, which everyone on this machine can read in the process list; give the URL in "
            "the environment (MLFLOW_BACKEND_STORE_URI), or the password alone by --backend-password-file"
        )
    if (colon or queried) and password is not None:
        raise WrongInput("--backend-password-file: the URL holds a password already; give one of them")
    if not host.partition("/")[2]:
        raise WrongInput(
            f"--backend: must name a database, got postgresql://{host}; write postgresql://USER@HOST/DATABASE"
        )
    if password is not None and not user:
        raise WrongInput("--backend-password-file: the URL names no user; write postgresql://USER@HOST/DATABASE")
    secret = password or (unquote(inside) if colon else None) or (queried[0] if queried else None)
    options = [(name, value) for name, value in options if name != "password"]
    if "connect_timeout" not in dict(options):
        options.append(("connect_timeout", str(CONNECT_TIMEOUT_S)))
    shown_options = [(name, value) for name, value in options if name != "connect_timeout"]
    tail, shown_tail = (f"?{urlencode(each)}" if each else "" for each in (options, shown_options))
    whole = f"{user}:{quote(secret, safe='')}" if secret else user
    return Backend(
        shown=f"postgresql://{user}{f':{HIDDEN}' if secret else ''}{at}{host}{shown_tail}",
        url=f"postgresql+psycopg://{whole}{at}{host}{tail}",
        sqlite_file=None,
    )


def hide_password(given: str) -> str:
    return re.sub(r":[^:@/]*@", f":{HIDDEN}@", given)


def without_secrets(text: str, secrets: list[str]) -> str:
    """A library's message, with every secret that it may have quoted taken out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    return text
