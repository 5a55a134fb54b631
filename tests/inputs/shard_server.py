"""A web server of the test's own that gives files by ranges, asks for what it is told to, and fails on demand."""

import base64
import datetime
import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


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
    again: str = ""  # the Retry-After that those say
    cuts: int = 0  # so many more whole files, or rests of one, end in the middle
    part_cuts: int = 0  # so many more parts of a file end in the middle
    moved: dict[str, str] = field(default_factory=dict)  # paths, or a beginning of one, and to where it sends on
    shift: int = 0  # from where a part is given, of where it is asked for
    together: threading.Barrier | None = None  # at which parts of a file wait for one another
    sent: list[tuple[str, str, str]] = field(default_factory=list)  # path, Authorization, what stands behind the ?
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
        if does.together is not None and asked:
            does.together.wait(60)
        does.asked.append((self.command, parts.path, asked))
        does.sent.append((parts.path, self.headers.get("Authorization", ""), parts.query))
        wanted = f"Basic {base64.b64encode(does.user.encode()).decode()}" if does.user else None
        path = does.folder / parts.path.lstrip("/")
        if does.busy:
            does.busy -= 1
            return self._refuse(503, {"Retry-After": does.again} if does.again else {})
        if (wanted and self.headers.get("Authorization") != wanted) or parts.query != does.query:
            return self._refuse(403)
        for beginning, to in does.moved.items():
            if parts.path.startswith(beginning):
                return self._refuse(302, {"Location": to + parts.path.removeprefix(beginning)})
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
        start, end = (start + does.shift, end + does.shift) if asked else (start, end)
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
        if does.part_cuts and last:
            does.part_cuts -= 1
            end = start + (end - start) // 2
            self.close_connection = True
        self.wfile.write(content[start:end])
        return None

    def _refuse(self, status: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def served(folder: Path, certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[Behaviour]:
    """The folder's files at `address`, until the test has ended; over TLS by a certificate with its key in one file."""
    behaviour = Behaviour(folder=folder)
    server = ThreadingHTTPServer((host, 0), partial(Handler, behaviour))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    behaviour.address = f"{'https' if certificate else 'http'}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate_of(path: Path, host: str = "127.0.0.1", *, valid_days: int = 2) -> Path:
    """A certificate that signs itself, and its key, in one file; expired where `valid_days` is below 0."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shards of a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=valid_days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return path
