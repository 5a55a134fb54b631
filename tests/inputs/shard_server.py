"""A web server of the test's own that gives files by ranges, asks for what it is told to, and fails on demand."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Behaviour:
    """What the server does, to be changed while it runs."""

    folder: Path
    ranges: bool = True
    tags: bool = True  # ETag and Last-Modified
    head: bool = True
    user: str = ""  # user:password that it asks for
    query: str = ""  # the signature that it asks for
    busy: int = 0  # so many more requests are answered by 503
    cuts: int = 0  # so many more whole files, or rests of one, end in the middle
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    address: str = ""

    def of(self, kind: str) -> list[tuple[str, str, str]]:
        return [one for one in self.asked if one[0] == kind]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, behaviour: Behaviour, *given: object) -> None:
        self.behaviour = behaviour
        super().__init__(*given)  # type: ignore[arg-type]  # as the server hands them over

    def do_HEAD(self) -> None:
        if not self.behaviour.head:
            self._refuse(405)
        else:
            self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        does, parts = self.behaviour, urlsplit(self.path)
        asked = self.headers.get("Range", "")
        does.asked.append((self.command, parts.path, asked))
        wanted = f"Basic {base64.b64encode(does.user.encode()).decode()}" if does.user else None
        path = does.folder / parts.path.lstrip("/")
        if does.busy:
            does.busy -= 1
            return self._refuse(503)
        if (wanted and self.headers.get("Authorization") != wanted) or parts.query != does.query:
            return self._refuse(403)
        if not path.is_file():
            return self._refuse(404)
        return self._send(path.read_bytes(), asked if does.ranges else "", body=body)

    def _send(self, content: bytes, asked: str, *, body: bool) -> None:
        does = self.behaviour
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if asked else 0
        if start >= len(content) and asked:
            return self._refuse(416)
        end = min(int(last) + 1, len(content)) if last else len(content)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if does.tags:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
            self.send_header("Last-Modified", "Sat, 01 Aug 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if not body:
            return None
        if does.cuts and not last:
            does.cuts -= 1
            end = start + (end - start) // 2
            self.close_connection = True
        self.wfile.write(content[start:end])
        return None

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def served(folder: Path) -> Iterator[Behaviour]:
    """The folder's files at `address`, until the test has ended."""
    behaviour = Behaviour(folder=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, behaviour))
    behaviour.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
