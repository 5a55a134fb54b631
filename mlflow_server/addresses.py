"""Where the server listens, by which names it may be called, and from which pages it takes requests."""

import errno
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_server.errors import ServerError, WrongInput

# Names by which a client on this machine reaches any server of this machine.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?")


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address as the system's resolver gave it: what is judged is what is bound."""

    family: int
    sockaddr: tuple[str | int | bytes, ...]  # of the family: (host, port, …)

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        found = ipaddress.ip_address(str(self.sockaddr[0]).partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)  # ::ffff:127.0.0.1 is 127.0.0.1
        return mapped or found

    @property
    def is_loopback(self) -> bool:
        return self.ip.is_loopback

    @property
    def url_host(self) -> str:
        """A host by which this machine itself reaches the address."""
        here = self.ip
        if here.is_unspecified:
            here = ipaddress.ip_address("::1" if here.version == 6 else "127.0.0.1")
        return f"[{here}]" if here.version == 6 else str(here)


def resolve(host: str, port: int) -> Address:
    """The one address to listen on.

    Raises WrongInput for a name that nobody knows, or one that means addresses inside and outside this machine.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare.strip() or bare != bare.strip() or "*" in bare:  # which some resolvers take for all addresses
        raise WrongInput(f"--host: must be an address or a name, got {host!r}; 127.0.0.1 is this machine only")
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise WrongInput(f"--host {host}: no such address on this machine ({why})") from None
    addresses = [Address(family=family, sockaddr=sockaddr) for family, _, _, _, sockaddr in found]
    if len({address.is_loopback for address in addresses}) > 1:
        shown = ", ".join(sorted({str(address.ip) for address in addresses}))
        raise WrongInput(f"--host {host}: means addresses inside and outside this machine ({shown}); give one of them")
    return min(addresses, key=lambda address: address.family != socket.AF_INET)  # localhost: 127.0.0.1 before ::1


def bind(address: Address, asked: str) -> socket.socket:
    """A socket that holds the port and doesn't listen yet: until the server does, clients are refused, not kept."""
    here = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        here.bind(address.sockaddr)
    except OSError as error:
        here.close()
        port = int(address.sockaddr[1])
        if error.errno == errno.EADDRINUSE:
            raise ServerError(
                f"port {port} on {asked} is taken by another program; stop it, or give another --port (0: any free one)"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise WrongInput(f"--port {port}: this user may not listen there; give a port from 1024 on") from None
        raise WrongInput(
            f"--host {asked}: can't listen there ({error.strerror}); give an address of this machine"
        ) from None
    return here


def exact_hosts(given: str) -> list[str]:
    """Comma-separated names, each as it stands in a Host header: a name or address, with a port or without.

    MLflow takes globs here, and `10.*` lets `10.evil.example` in: refused.
    """
    hosts = [host.strip().lower() for host in given.split(",")]
    for host in hosts:
        name, port = split_port(host)
        if "*" in host or "?" in name:
            raise WrongInput(
                f"--allowed-hosts: names must be exact, got {host!r}; a pattern lets names in that others own"
            )
        if not _is_host(name) or (port is not None and not _is_port(port)):
            raise WrongInput(
                f"--allowed-hosts: must be names or addresses, with a port or without, got {host!r}; "
                "for example mlflow.example.com,10.0.0.5:5000"
            )
        if name.strip("[]") in ("0.0.0.0", "::"):
            raise WrongInput(
                f"--allowed-hosts: {host} is no name that a client calls; give the names that stand in URLs"
            )
    return hosts


def split_port(host: str) -> tuple[str, str | None]:
    """(name, port) of a Host header's value; an IPv6 address stands in brackets."""
    if host.startswith("["):
        name, closed, port = host.partition("]")
        return name + closed, (port[1:] if port.startswith(":") else port) or None
    name, colon, port = host.partition(":")
    return name, port if colon else None


def host_headers(hosts: Sequence[str], port: int) -> list[str]:
    """The values of the Host header that are let in: the names given and this machine's own, with and without port."""
    values = []
    for host in [*LOOPBACK_HOSTS, *hosts]:
        values.append(host)
        if split_port(host)[1] is None:
            values.append(f"{host}:{port}")
    return list(dict.fromkeys(values))


def origins(hosts: Sequence[str], port: int) -> list[str]:
    """The pages whose requests are taken: the server's own, by each of its names; https where a proxy adds it."""
    return [f"{scheme}://{value}" for value in host_headers(hosts, port) for scheme in ("http", "https")]


def _is_host(name: str) -> bool:
    if name.startswith("["):
        try:
            return name.endswith("]") and bool(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return False
    return bool(NAME.fullmatch(name)) and len(name) <= 253


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdigit() and 0 < int(port) < 65536
