"""Secrets in files: read only where nobody else can, created whole and for their owner alone."""

import os
import secrets
import stat
from base64 import urlsafe_b64encode
from pathlib import Path

from mlflow_server.errors import ServerError, WrongInput

SHORTEST_PASSWORD = 12  # characters; MLflow takes no shorter one either
# What is tried first, MLflow's own old default `password1234` among it: such a word adds nothing to a password.
WORDS = (
    "password",
    "passw0rd",
    "administrator",
    "admin",
    "mlflow",
    "changeme",
    "secret",
    "letmein",
    "qwerty",
    "12345678",
)


def private_folder(path: Path, asked: str) -> Path:
    """The folder, made with mode 0700; refused where others may look into it or it is somebody else's."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise WrongInput(f"{asked} {path}: must be a folder that can be made ({error.strerror})") from None
    if found.st_uid != os.geteuid():
        raise WrongInput(f"{asked} {path}: belongs to another user; give a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise WrongInput(f"{asked} {path}: others may look into it, and secrets are kept there; chmod 700 {path}")
    return path


def read_secret(path: Path, asked: str) -> str:
    """A secret's one line. Raises WrongInput where the file is open to others, empty, or not there."""
    try:
        # O_NONBLOCK: a pipe in the file's place is refused, not waited for
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as file:
            _refuse_open(os.fstat(file.fileno()), path, asked)
            text = file.read(65536)
    except OSError as error:
        raise WrongInput(f"{asked} {path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise WrongInput(f"{asked} {path}: must be one line of text in UTF-8") from None
    secret = text.rstrip("\r\n")
    if not secret or "\n" in secret or "\0" in secret:
        raise WrongInput(f"{asked} {path}: must hold one line, the secret; it holds {len(secret.splitlines())}")
    return secret


def _refuse_open(found: os.stat_result, path: Path, asked: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise WrongInput(f"{asked} {path}: must be a file")
    if found.st_uid not in (0, os.geteuid()):
        raise WrongInput(f"{asked} {path}: belongs to another user, who can change it; make it yours: chown it")
    # systemd keeps credentials in a folder that only the service can enter; the mode then shows its access list
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    kept_by_systemd = given is not None and path.resolve().is_relative_to(Path(given).resolve())
    if stat.S_IMODE(found.st_mode) & (0o007 if kept_by_systemd else 0o077):
        raise WrongInput(f"{asked} {path}: others may read it (mode {stat.S_IMODE(found.st_mode):o}); chmod 600 {path}")


def kept_secret(path: Path) -> str:
    """A random secret that stays from start to start: read, or made with mode 0600 and whole from its first moment."""
    if not path.exists():
        write_private(path, urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii"))
    return read_secret(path, "secret")


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 that is whole from its first moment."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ServerError(f"{path}: can't be written ({error.strerror}); is the disk full?") from None


def check_password(password: str, user: str) -> str:
    """The administrator's password, if it is one. Raises WrongInput, which never shows it."""
    if len(password) < SHORTEST_PASSWORD:
        raise WrongInput(
            f"the administrator's password must have at least {SHORTEST_PASSWORD} characters, it has {len(password)}; "
            "`openssl rand -base64 24` makes a good one"
        )
    rest = password.casefold()
    for word in (user.casefold(), *WORDS):
        rest = rest.replace(word, "")
    if len(rest) < min(8, len(password)):
        raise WrongInput(
            "the administrator's password is one that is tried first; make one with `openssl rand -base64 24`"
        )
    if len(set(password)) < 5:
        raise WrongInput(
            "the administrator's password repeats a few characters; `openssl rand -base64 24` makes a good one"
        )
    return password
