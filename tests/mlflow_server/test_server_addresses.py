"""Where a server listens and by which names it may be called."""

import socket

import pytest

from mlflow_server.addresses import bind, exact_hosts, host_headers, origins, resolve
from mlflow_server.errors import ServerError, WrongInput


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "::1", "[::1]", "::ffff:127.0.0.1", "127.8.8.8"])
def test_every_way_to_write_this_machine_is_loopback(host):
    """Nothing more is asked of a server that only this machine reaches."""
    assert resolve(host, 5000).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0", "0x0", "10.0.0.5", "::ffff:0.0.0.0", "fe80::1"])
def test_what_other_machines_reach_is_not_loopback(host):
    """Judged by the address that is bound, not by how it is written."""
    assert not resolve(host, 5000).is_loopback


@pytest.mark.parametrize("host", ["*", "", " ", "no such host", "127.0.0.1 ", "999.1.1.1", "a" * 300])
def test_what_is_no_address_is_refused(host):
    """Before anything starts."""
    with pytest.raises(WrongInput, match="--host"):
        resolve(host, 5000)


def test_a_name_that_means_inside_and_outside_is_refused(monkeypatch):
    """A resolver that answers with both leaves open who reaches the server."""
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 5000)) for ip in ("127.0.0.1", "10.0.0.5")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: both)
    with pytest.raises(WrongInput, match=r"inside and outside.*10\.0\.0\.5, 127\.0\.0\.1"):
        resolve("mixed.example", 5000)


def test_a_taken_port_is_said():
    """A second program's port, by number and with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} on localhost is taken.*--port") as caught:
            bind(resolve("localhost", port), "localhost")
    assert caught.value.exit_code == 1


def test_an_address_of_another_machine_is_said():
    """192.0.2.1 is nobody's, by RFC 5737."""
    with pytest.raises(WrongInput, match=r"--host 192\.0\.2\.1"):
        bind(resolve("192.0.2.1", 0), "192.0.2.1")


def test_a_bound_port_refuses_until_the_server_listens():
    """A client that comes too early is told so, not kept waiting."""
    with bind(resolve("127.0.0.1", 0), "127.0.0.1") as here, pytest.raises(ConnectionRefusedError):
        socket.create_connection(here.getsockname(), timeout=5)


@pytest.mark.parametrize(
    "hosts",
    ["*", "*.example.com", "10.*", "mlflow.example.com,*", "a?c", "[fd00::*]", "http://a.example", "a/b", "a b", "",
     "a,,b", "a:0", "a:65536", "a:x", "-a", "0.0.0.0", "0.0.0.0:5000", "[::]", "::1", "[1.2.3.4]", "a@b", "ä.example"],
)  # fmt: skip
def test_names_are_exact(hosts):
    """No pattern of any kind, nothing that isn't a Host header's value."""
    with pytest.raises(WrongInput, match="--allowed-hosts"):
        exact_hosts(hosts)


def test_names_are_let_in_with_and_without_the_port():
    """As clients write them: `mlflow.example.com:5000`, and behind a proxy without; a port given stands alone."""
    headers = host_headers(exact_hosts("MLflow.Example.com, 10.0.0.5:8443,[fd00::5]"), 5000)
    assert {"mlflow.example.com", "mlflow.example.com:5000", "10.0.0.5:8443", "[fd00::5]", "[fd00::5]:5000"} <= {
        *headers
    }
    assert {"10.0.0.5", "10.0.0.5:5000"}.isdisjoint(headers)
    assert {"localhost:5000", "127.0.0.1:5000", "[::1]:5000"} <= {*headers}
    assert not any("*" in header for header in headers)


def test_only_the_servers_own_pages_are_trusted():
    """Origins are its own names, plain and behind TLS."""
    own = origins(["mlflow.example.com"], 5000)
    assert "https://mlflow.example.com" in own and "http://mlflow.example.com:5000" in own
    assert "http://localhost:8888" not in own
