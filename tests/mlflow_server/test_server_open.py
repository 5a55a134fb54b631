"""A server for this machine on SQLite, as a process: what it serves, what it refuses, how it ends."""

import json
import signal
import socket
import sqlite3
import stat
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from servers import PATIENCE_S, Running, ask, stop, stopped, wait_until

from mlflow_server.command import main


def rows(server: Running, sql: str) -> list:
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as connection:
        return connection.execute(sql).fetchall()


def everything(server: Running) -> dict[str, list]:
    """All that lies in the database, and the files of the artifact store."""
    tables = [name for (name,) in rows(server, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: rows(server, f"SELECT * FROM {name}") for name in tables}
    return found | {"files": [path for path in (server.folder / "artifacts").rglob("*") if path.is_file()]}


def test_its_first_line_is_for_scripts(open_server):
    """One JSON document on stdout, once it answers."""
    ready = open_server.ready
    assert ready["url"].startswith("http://127.0.0.1:") and ready["authentication"] is False
    assert ready["backend"] == f"sqlite:///{open_server.folder}/mlflow.db"
    assert psutil.Process(ready["pid"]).ppid() == open_server.process.pid
    assert ask(ready["url"] + "/health").body == b"OK"


def test_its_files_are_private_and_written_ahead(open_server):
    """Mode 0600 each, 0700 the folders; SQLite's journal is a write-ahead log."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in open_server.folder.rglob("*")}
    assert {"mlflow.db", "flask.key", "webhooks.key", "auth.ini", "lock"} <= set(modes)
    for path in [open_server.folder, *open_server.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert rows(open_server, "PRAGMA journal_mode") == [("wal",)]


def test_a_check_writes_reads_and_leaves_nothing(open_server, capsys):
    """Not a run, a hidden experiment, a tag or a file more than before."""
    assert main(["--check", open_server.url]) == 0  # makes the experiment's folder, which stays
    capsys.readouterr()
    before = everything(open_server)
    assert main(["--check", open_server.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ready"] is True and found["authentication"] is False
    assert found["database_s"] > 0 and found["artifacts_s"] > 0
    assert everything(open_server) == before


def test_a_check_works_where_all_experiments_are_deleted(open_server, capsys):
    """It writes a registered model instead, and deletes that."""
    path = "/api/2.0/mlflow/experiments"
    active = open_server.ask(f"{path}/search", "POST", {"max_results": 100}).json["experiments"]
    for one in active:
        assert open_server.ask(f"{path}/delete", "POST", {"experiment_id": one["experiment_id"]}).status == 200
    try:
        assert main(["--check", open_server.url]) == 0
        assert rows(open_server, "SELECT * FROM registered_models") == []
    finally:
        for one in active:
            open_server.ask(f"{path}/restore", "POST", {"experiment_id": one["experiment_id"]})


def test_a_check_says_which_half_is_broken(open_server, capsys):
    """/health answers OK all the while."""
    artifacts = open_server.folder / "artifacts"
    away = artifacts.rename(open_server.folder / "away")
    artifacts.write_text("")  # a file in the folder's place: root may write anywhere
    try:
        assert main(["--check", open_server.url]) == 1
        assert "not ready, can't write its artifact store" in capsys.readouterr().err
    finally:
        artifacts.unlink()
        away.rename(artifacts)
    with closing(sqlite3.connect(open_server.folder / "mlflow.db")) as connection:
        connection.execute("ALTER TABLE experiment_tags RENAME TO experiment_tags_away")
        try:
            assert main(["--check", open_server.url]) == 1
            assert "not ready, can't" in (said := capsys.readouterr().err) and "database" in said
        finally:
            connection.execute("ALTER TABLE experiment_tags_away RENAME TO experiment_tags")
    assert main(["--check", open_server.url]) == 0


def test_a_check_of_something_else_says_so(capsys):
    """A program that answers OK to everything is no MLflow server."""

    class Anything(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK")

        def do_POST(self):
            self.do_GET()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Anything) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert main(["--check", f"http://127.0.0.1:{other.server_port}"]) == 1
        assert "no MLflow server" in capsys.readouterr().err
        other.shutdown()


@pytest.mark.parametrize(
    "host", ["evil.example", "10.evil.example", "192.168.0.1.evil.example", "other.example", "10.0.0.5"]
)
def test_a_foreign_host_header_is_refused(open_server, host):
    """As after DNS rebinding; MLflow's own list would let `10.evil.example` in."""
    assert open_server.ask("/", Host=host).status == 403
    assert open_server.ask("/", Host="localhost").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null"])
def test_a_foreign_page_is_refused(open_server, origin):
    """Whatever it asks; the server's own page is served."""
    body = {"max_results": 1}
    path = "/ajax-api/2.0/mlflow/experiments/search"
    assert open_server.ask(path, "POST", body, Origin=origin).status == 403
    assert open_server.ask("/", Origin=origin).status == 403
    answer = open_server.ask(path, "POST", body, Origin=open_server.url)
    assert answer.status == 200 and answer.json["experiments"]


def test_jobs_and_the_assistant_are_off(open_server):
    """Though the environment asked for jobs; no other process serves."""
    assert open_server.ask("/ajax-api/3.0/jobs/search", "POST", {}).status == 404
    assert open_server.ask("/ajax-api/3.0/mlflow/assistant/config").status == 404
    assert psutil.Process(open_server.ready["pid"]).children(recursive=True) == []
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" in open_server.said()


@pytest.mark.parametrize(
    "path",
    ["../users.db", "..%2f..%2fflask.key", "%2e%2e/flask.key", "0/../../flask.key", "/etc/passwd", "%2fetc%2fpasswd"],
)
def test_no_path_leads_out_of_the_artifact_store(open_server, path):
    """Neither reading nor writing."""
    for method, body in (("GET", None), ("PUT", b"x"), ("DELETE", None)):
        with closing(socket.create_connection(("127.0.0.1", int(open_server.url.rpartition(":")[2])))) as raw:
            size = f"Content-Length: {len(body or b'')}\r\nConnection: close\r\nHost: localhost\r\n\r\n"
            raw.sendall(
                f"{method} /api/2.0/mlflow-artifacts/artifacts/{path} HTTP/1.1\r\n{size}".encode() + (body or b"")
            )
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
        assert b" 200 " not in answer.partition(b"\r\n")[0], (method, answer)
    assert len((open_server.folder / "flask.key").read_text()) == 44


def test_a_second_server_is_refused(open_server, starter):
    """On the same folder, and on the same port: exit code 1, and what to do."""
    process, log = starter.launch("--folder", "open")
    assert process.wait(PATIENCE_S) == 1 and "another server runs from it" in log.read_text()
    port = open_server.url.rpartition(":")[2]
    process, log = starter.launch("--folder", "second", "--port", port)
    assert process.wait(PATIENCE_S) == 1 and f"port {port} on 127.0.0.1 is taken" in log.read_text()


def test_what_mlflow_finds_wrong_is_said_and_the_exit_code_kept(starter):
    """Errors of the server's own process: here newer tables; nothing is left running."""
    (starter.folder / "newer").mkdir(mode=0o700)
    with closing(sqlite3.connect(starter.folder / "newer" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
    process, log = starter.launch("--folder", "newer")
    assert process.wait(PATIENCE_S) == 2
    assert "Error: sqlite:///" in log.read_text() and "newer MLflow" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_killed_outright_it_ends_whole_all_the_same(open_server):
    """The server's process sees that nobody minds it any more."""
    assert stop(open_server, signal.SIGKILL) == -signal.SIGKILL
    assert wait_until(lambda: stopped(open_server.ready["pid"]))
    port = int(open_server.url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
