"""What MLflow's own middleware leaves open, closed before a request reaches MLflow."""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping

from mlflow_server.untyped import Untyped

Scope = MutableMapping[str, Untyped]
Receive = Callable[[], Awaitable[MutableMapping[str, Untyped]]]
Send = Callable[[MutableMapping[str, Untyped]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Knows = Callable[[Scope], Awaitable[bool]]  # is the request's user known, by name and password?

OPEN = ("/health", "/version")  # for load balancers; all else asks for a password where there is one
# Features of MLflow that run programs on the server or spend its credentials: jobs, the assistant (it has a shell), the
# gateway to language models, and what makes use of them.
OFF = re.compile(
    r"/gateway(/.*)?"
    r"|/(ajax-)?api/\d+\.\d+/(mlflow/)?(assistant|jobs|gateway|gateway-proxy|genai|prompt-optimization|demo|scorer)(/.*)?"
    r"|/(ajax-)?api/\d+\.\d+/mlflow/(issues/invoke|runs/create-promptlab-run|scorers/online-configs?)"
)


def switched_off(path: str) -> bool:
    """Does the path lead to a feature that is off? As routed: `//` counts as `/`."""
    return OFF.fullmatch(re.sub("/+", "/", path)) is not None


def header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


class Guard:
    """Refuses what is off, what comes from another site's page, and, with authentication, whom nobody knows."""

    def __init__(
        self, app: App, *, origins: Iterable[str], knows: Knows | None, left_open: Callable[[str], bool]
    ) -> None:
        self.app = app
        self.origins = frozenset(origins)
        self.knows = knows  # None: no authentication
        self.left_open = left_open  # paths that MLflow serves without asking who it is

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # MLflow has none
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = await self.refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        status, code, message = refused
        headers = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="mlflow"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": json.dumps({"error_code": code, "message": message}).encode()}
        )

    async def refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        """(status, MLflow's error code, what to say), or None."""
        path = scope["path"]
        if path in OPEN:
            return None
        origin = header(scope, b"origin")
        # MLflow takes requests from any page on any port of localhost
        if origin is not None and origin.lower() not in self.origins:
            return 403, "PERMISSION_DENIED", "Cross-origin request blocked"
        if self.knows is not None and not await self._let_in(scope, path):
            return 401, "UNAUTHENTICATED", "This server asks for a user name and a password"
        if switched_off(path):
            return 404, "ENDPOINT_NOT_FOUND", "This feature is switched off on this server"
        return None

    async def _let_in(self, scope: Scope, path: str) -> bool:
        """MLflow asks who it is on its routes; here all else is asked: static files, server-info, unknown paths."""
        if header(scope, b"authorization") is None:
            return False
        if self.left_open(path) or switched_off(path):
            assert self.knows is not None
            return await self.knows(scope)
        return True
