"""A proxy between outbox and server that cuts, delays, answers with errors, and loses replies of what was done."""

import http.client
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

CUT, LOSE_REPLY, FAIL, PAGE, REFUSE = "cut", "lose reply", "fail", "page", "refuse"
Fate = Literal["pass", "cut", "lose reply", "fail", "page", "refuse"] | float  # a float: seconds of delay, then pass
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-encoding", "content-length"}


class Proxy(ThreadingHTTPServer):
    """`fate` decides on each request by its method and path, as "POST /api/2.0/mlflow/runs/create"."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.fate: Callable[[str], Fate] = lambda request: "pass"
        self.met: Counter[str] = Counter()  # how many requests met which fate
        self.password: str | None = None  # what a client has to send, as "user:password"

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up, which is what tests here make clients do."""


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _any(self) -> None:
        asked = f"{self.command} {self.path.partition('?')[0]}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.server.fate(asked) if self._let_in() else REFUSE
        self.server.met["delay" if isinstance(fate, float) else fate] += 1
        if fate == CUT:
            self.close_connection = True
        elif fate == FAIL:
            self._answer(500, [], b"<html>a bad moment</html>")
        elif fate == REFUSE:
            self._answer(401, [], b"You are not authenticated.")
        elif fate == PAGE:
            self._answer(200, [], b"<html>back in a minute</html>")
        else:
            if isinstance(fate, float):
                time.sleep(fate)
            status, headers, reply = self._forward(body)
            if fate == LOSE_REPLY:  # the server has committed
                self.close_connection = True
            else:
                self._answer(status, headers, reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815 - the names are http.server's

    def _let_in(self) -> bool:
        wanted = self.server.password
        sent = self.headers.get("Authorization", "")
        return wanted is None or sent == "Basic " + b64encode(wanted.encode()).decode()

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP | {"accept-encoding"}}
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in HOP_BY_HOP | {"date", "server"}:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
