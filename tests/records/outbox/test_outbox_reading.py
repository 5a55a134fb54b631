"""A study read back from MLflow, and servers that are none."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from records.outbox.delivered import send
from records.outbox.proxy import proxy_to
from records.outbox.served import Served
from study.made_up import commands_in, one_message

from tune_cnn.errors import StudyError
from tune_cnn.records.mlflow.client import Refused, Server, Unreachable
from tune_cnn.records.mlflow.environment import shown_uri
from tune_cnn.records.mlflow.reader import list_studies, read_study
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState


def test_a_study_reads_back_from_its_server_alone(store: Store, name: str, tracking: str) -> None:
    """Spec, state, trials with their run ids, and every point."""
    store.update_study(name, state=StudyState.FINISHED)
    send(store, name, tracking)
    archive = read_study(name, tracking)
    record = store.study(name)
    assert record is not None and name in {study.name for study in list_studies(tracking)}
    assert (archive.study.uid, archive.study.spec, archive.study.state) == (record.uid, record.spec, "finished")
    assert [t.run_id for t in archive.trials] == [t.run_id for t in store.trials(name)] != [None, None]
    assert [p.metrics["accuracy"] for p in archive.points] == [p.metrics["accuracy"] for p in store.points(name)]
    with pytest.raises(StudyError, match=r"'nowhere': .* holds no study of this name"):
        read_study("nowhere", tracking)


def test_every_command_reads_from_a_server_alone(
    store: Store,
    name: str,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """From another machine, which holds no store, with a password; a wrong one, or a wrong address, is one message."""
    store.update_study(name, state=StudyState.FINISHED)
    send(store, name, served.uri)
    (there := tmp_path / "elsewhere").mkdir()
    with proxy_to(served.port) as proxy, commands_in(there, monkeypatch, capfd) as command:
        proxy.password = "ann:geheim"
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
        uri = ("--tracking-uri", proxy.uri)
        front = command("front", name, *uri, "--json").document
        assert {(p["trial"], p["epoch"]) for p in front["points"]} == {(0, 3), (1, 1), (1, 2), (1, 3)}
        assert all(point["run_id"] for point in front["points"])
        assert command("status", name, *uri, "--json").document["trials"]["complete"] == 1
        listed = command("list", *uri, "--json").document
        assert [s["state"] for s in listed if s["study"] == name] == ["finished"]
        assert command("export", name, *uri, "--min-accuracy", "0.85", "-o", "best.yaml").code == 0
        assert "stop_epoch: 3" in (there / "best.yaml").read_text()
        assert command("report", name, *uri, "-o", "r.html").code == 0
        assert not (there / "studies").exists()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        one_message(command("front", name, *uri), 2, "doesn't let us in")
        for wrong in ("mlruns", "htp://somewhere", "somewhere:5000"):
            one_message(command("front", name, "--tracking-uri", wrong), 2, "--tracking-uri: must be a server", wrong)
        assert [path.name for path in there.iterdir() if path.is_dir()] == []


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such database"):
        read_study("s", f"sqlite:///{tmp_path}/m.db")
    assert not (tmp_path / "m.db").exists()


class _Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = b"<html>hello</html>"
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [(200, Refused, "not an MLflow server"), (401, Refused, "doesn't let us in"), (503, Unreachable, "127.0.0.1")],
)
def test_servers_that_are_none_or_refuse_are_told_apart(status: int, error: type[Exception], says: str) -> None:
    """Only what may pass by itself is tried again; no message holds the password."""
    http = HTTPServer(("127.0.0.1", 0), type("Handler", (_Answers,), {"status": status}))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        with pytest.raises(error, match=says) as caught:
            Server(f"http://user:geheim@127.0.0.1:{http.server_port}").experiment("s", "u")
    finally:
        http.shutdown()
        http.server_close()
    assert "geheim" not in str(caught.value)
    assert shown_uri("http://user:geheim@host:5/x") == "http://host:5/x"
