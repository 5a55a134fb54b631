"""True readiness of a running server, asked over HTTP: database and artifact store, written, read back and cleaned up.

What is written is deleted for good: MLflow only hides a deleted experiment or run, so a tag of an existing experiment
is written instead, or, where there is none, a registered model for a moment.
"""

import base64
import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlsplit

from mlflow_server.errors import ServerError, WrongInput
from mlflow_server.settings import Login
from mlflow_server.untyped import Plain

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
KEY = "readiness-check"
TIMEOUT_S = 15  # one answer; a server that is slower than this doesn't serve
REFUSED = (401, 403)

Result = TypeVar("Result")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: the password would go along."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Client:
    """A server and who asks it."""

    url: str  # without a slash at the end
    login: Login | None

    def ask(self, method: str, path: str, body: object = None, *, anonymous: bool = False) -> bytes:
        """Raises urllib.error.HTTPError for a refusal, OSError where nobody answers."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header(
            "Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json"
        )
        if self.login is not None and not anonymous:
            both = f"{self.login.user}:{self.login.password}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(both).decode())
        # no proxy: a server is asked where it is, and the password goes nowhere else
        opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())

    def call(self, method: str, path: str, body: object = None) -> dict[str, Plain]:
        answer = json.loads(self.ask(method, API + path, body) or b"{}")
        if not isinstance(answer, dict):
            raise ValueError("not MLflow's answer")
        return answer


def check(url: str, login: Login | None) -> dict[str, Plain]:
    """What was found: {url, ready, version, authentication, database, artifacts}, the last two in seconds.

    Raises WrongInput for a URL that isn't one or a wrong password, ServerError for a server that isn't ready.
    """
    client = Client(url=_url(url), login=login)
    _step(client, "answer", lambda: client.ask("GET", "/health", anonymous=True))
    closed = _asks_for_a_password(client)
    if closed and login is None:
        raise WrongInput(
            f"{client.url}: asks for a password; give it by --admin-password-file, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment"
        )
    version = _step(client, "say its version", lambda: client.ask("GET", "/version").decode(errors="replace").strip())
    found = _step(client, "read its database", lambda: _an_experiment(client))
    database_s = _timed(lambda: _step(client, "write its database", lambda: _write_database(client, found)))
    artifacts_s = _timed(lambda: _step(client, "write its artifact store", lambda: _write_file(client, found or "0")))
    return {
        "url": client.url,
        "ready": True,
        "version": version,
        "authentication": closed,
        "database_s": database_s,
        "artifacts_s": artifacts_s,
    }


def _url(given: str) -> str:
    parts = urlsplit(given)
    try:
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known or parts.query or parts.fragment:
        raise WrongInput(f"--check: must be the server's URL as http://HOST:PORT, got {given!r}")
    if parts.username is not None or parts.password is not None:
        raise WrongInput("--check: the URL holds a login; give it by --admin-password-file or in the environment")
    return given.rstrip("/")


def _asks_for_a_password(client: Client) -> bool:
    try:
        client.ask("POST", f"{API}/experiments/search", {"max_results": 1}, anonymous=True)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except (OSError, ValueError):
        return False  # what is wrong, the next step says
    return False


def _an_experiment(client: Client) -> str | None:
    """The id of an experiment to write to; None where there is none."""
    body = {"max_results": 1, "view_type": "ACTIVE_ONLY", "order_by": ["creation_time ASC"]}
    experiments = client.call("POST", "/experiments/search", body).get("experiments", [])
    return str(experiments[0]["experiment_id"]) if experiments else None


def _write_database(client: Client, experiment: str | None) -> None:
    nonce = secrets.token_hex(8)
    key = f"{KEY}.{nonce}"
    if experiment is None:
        client.call("POST", "/registered-models/create", {"name": key})
        client.call("GET", f"/registered-models/get?name={key}")
        client.call("DELETE", "/registered-models/delete", {"name": key})
        return
    client.call("POST", "/experiments/set-experiment-tag", {"experiment_id": experiment, "key": key, "value": nonce})
    try:
        read = client.call("GET", f"/experiments/get?experiment_id={quote(experiment)}")["experiment"].get("tags", [])
        if {"key": key, "value": nonce} not in read:
            raise ServerError(f"{client.url}: not ready, its database doesn't give back what was written to it")
    finally:
        client.call("POST", "/experiments/delete-experiment-tag", {"experiment_id": experiment, "key": key})


def _write_file(client: Client, experiment: str) -> None:
    nonce = secrets.token_hex(16)
    path = f"{FILES}/{quote(experiment)}/{KEY}-{nonce}"
    client.ask("PUT", path, nonce.encode())
    try:
        if client.ask("GET", path) != nonce.encode():
            raise ServerError(f"{client.url}: not ready, its artifact store gives back other bytes than were written")
    finally:
        client.ask("DELETE", path)


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return round(time.perf_counter() - start, 4)


def _step(client: Client, what: str, act: Callable[[], Result]) -> Result:
    """Do one part of the check; what goes wrong is said as the server's inability to do it."""
    try:
        return act()
    except urllib.error.HTTPError as error:
        if error.code in REFUSED and client.login is not None:
            raise WrongInput(
                f"{client.url}: doesn't let {client.login.user} {what} ({error.code}): wrong password, or no rights"
            ) from None
        said = _said(error.read(2000))
        raise ServerError(f"{client.url}: not ready, can't {what} ({error.code}{said})") from None
    except TimeoutError:
        raise ServerError(f"{client.url}: not ready, didn't {what} within {TIMEOUT_S} s") from None
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise ServerError(f"{client.url}: not ready, didn't {what} ({getattr(why, 'strerror', None) or why})") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise ServerError(f"{client.url}: not ready, what answers there is no MLflow server") from None


def _said(body: bytes) -> str:
    try:
        return f": {json.loads(body)['message']}"
    except (ValueError, KeyError, TypeError):
        return ""
