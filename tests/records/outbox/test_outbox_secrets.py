"""No password in messages, arguments or records, and no file of ours that others may use."""

import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from study.made_up import commands_in, one_message

from tune_cnn.errors import InputError
from tune_cnn.records.mlflow.client import Refused, Server, Unreachable
from tune_cnn.records.mlflow.environment import check_argument, secrets_of, shown_uri

WITH_SECRETS = [
    ("http://ann:geheim@host:5/x", "http://host:5/x"),
    ("https://host/x?token=geheim&b=geheim#geheim", "https://host/x"),
    ("postgresql://ann:ge%68eim@host/runs?password=geheim&sslmode=require", "postgresql://host/runs?sslmode=require"),
    ("postgresql+psycopg:///runs?host=/run/pg&sslpassword=geheim", "postgresql+psycopg:///runs?host=/run/pg"),
    ("http://ann:geheim@[::1", "http://…"),
]


@pytest.mark.parametrize(("uri", "shown"), WITH_SECRETS)
def test_a_server_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    """User, password, and every option that doesn't say where it is."""
    assert shown_uri(uri) == shown


@pytest.mark.parametrize("uri", ["sqlite:////a/b.db", "sqlite:///b.db", "http://host:5", "file:///a", "databricks"])
def test_what_holds_no_secret_is_shown_as_it_is(uri: str) -> None:
    assert shown_uri(uri) == uri and secrets_of(uri) == []
    check_argument(uri)


@pytest.mark.parametrize("uri", [uri for uri, _ in WITH_SECRETS])
def test_a_password_is_no_argument(uri: str) -> None:
    """Everyone on the machine reads arguments; the message says where it belongs, and doesn't repeat it."""
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        check_argument(uri)
    assert "geheim" not in str(caught.value)


def test_every_command_refuses_a_password_among_its_arguments_and_takes_it_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with commands_in(tmp_path, monkeypatch, capfd) as command:
        uri = "http://ann:geheim@127.0.0.1:9"
        for words in (("front", "s"), ("search", "quickstart"), ("list",), ("sync", "s"), ("train", "best.yaml")):
            got = command(*words, "--tracking-uri", uri)
            one_message(got, 2, "--tracking-uri", "MLFLOW_TRACKING_URI")
            assert "geheim" not in got.err
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        got = command("front", "s")
        assert got.code == 1 and "unreachable" in got.err and "geheim" not in got.err


def test_no_error_of_a_library_is_passed_on_with_a_secret(tracking: str) -> None:
    """Whole, alone, as it is written in the URI or as it is meant."""
    server = Server(tracking)
    server._uri = uri = "postgresql://ann:ge%20heim@host/runs?options=offen"
    with pytest.raises(Unreachable) as caught, server.edge():
        raise OSError(f"no connection by {uri}, ge%20heim, 'ge heim' and offen")
    assert "heim" not in str(caught.value) and "offen" not in str(caught.value)


def test_the_lock_lies_beside_the_database_for_its_owner_alone(tracking: str, tmp_path: Path) -> None:
    """Not in a folder that all may write to; and never through a link that somebody has laid there."""
    Server(tracking)
    made = Path(tracking.removeprefix("sqlite:///") + ".lock")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    lock = tmp_path / "m.db.lock"
    (tmp_path / "other").write_text("somebody's")
    lock.symlink_to(tmp_path / "other")
    with pytest.raises(Unreachable):
        Server(f"sqlite:///{tmp_path}/m.db")
    assert (tmp_path / "other").read_text() == "somebody's" and lock.is_symlink()


class _RefusesTheName(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"Invalid Host header - possible DNS rebinding attack detected"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def nameless() -> Iterator[str]:
    http = HTTPServer(("127.0.0.1", 0), _RefusesTheName)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_name_that_the_server_does_not_go_by_is_no_wrong_password(nameless: str) -> None:
    """403 both: who looks for a wrong password where the name is wrong looks for long."""
    with pytest.raises(Refused, match=r"not known by this name.*--allowed-hosts") as caught:
        Server(nameless)
    assert "PASSWORD" not in str(caught.value)
