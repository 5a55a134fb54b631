"""A server with users, reached by other machines, on SQLite: nobody gets in unknown, nobody sees what isn't his."""

import http.client
import json
import signal
import subprocess
import sys

import psutil
import pytest
from mlflow.server import get_app_client
from servers import ask, plain_environment, private_file, stop, stopped, wait_until

from mlflow_server.command import main

ROUTES = """
import json, re, mlflow.server
from mlflow.server.fastapi_app import create_fastapi_app
from mlflow.server.auth import create_app  # its routes are added by this
found = set()
def walk(routes, prefix=""):
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            walk(inner.routes)
        for method in getattr(route, "methods", None) or ():
            found.add((method, route.path))
app = create_app()
walk(getattr(app, "routes", ()))
for rule in mlflow.server.app.url_map.iter_rules():
    for method in rule.methods:
        found.add((method, str(rule)))
print("ROUTES" + json.dumps(sorted((m, re.sub("[<{][^>}]*[>}]", "1", p)) for m, p in found)))
"""


@pytest.fixture(scope="module")
def other(closed_server):
    """A user whom the administrator has made."""
    login = ("other", "other's own long password")
    answer = closed_server.ask(
        "/api/2.0/mlflow/users/create", "POST", dict(zip(("username", "password"), login, strict=True))
    )
    assert answer.status == 200, answer.body
    return login


@pytest.fixture(scope="module")
def secret_run(closed_server):
    """An experiment of the administrator's, with a run and a file in it."""
    api = "/api/2.0/mlflow"
    experiment = closed_server.ask(f"{api}/experiments/create", "POST", {"name": "secret"}).json["experiment_id"]
    run = closed_server.ask(f"{api}/runs/create", "POST", {"experiment_id": experiment}).json["run"]["info"]
    place = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run['run_id']}/artifacts/spec.yaml"
    assert closed_server.ask(place, "PUT", b"secret: true").status == 200
    return {"experiment": experiment, "run": run["run_id"], "file": place}


def test_no_route_lets_anyone_in_unknown(closed_server, tmp_path):
    """Each that MLflow publishes, FastAPI's and Flask's, and the files of the UI; but /health."""
    environment = plain_environment() | {
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "k", "_MLFLOW_SGI_NAME": "uvicorn", "_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED": "true",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path}/m.db", "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    listed = subprocess.run(
        [sys.executable, "-c", ROUTES], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    routes = json.loads(listed.stdout.partition("ROUTES")[2])
    assert len(routes) > 300 and ["POST", "/v1/traces"] in routes and ["GET", "/signup"] in routes
    routes += [["GET", path] for path in ("/static-files/index.html", "/favicon.ico", "/no/such/route", "/metrics")]
    connection = http.client.HTTPConnection(closed_server.url.removeprefix("http://"), timeout=60)  # one for all
    wrong = set()
    for method, path in routes:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 401:
            wrong.add((path, answer.status))
    connection.close()
    assert wrong == {("/health", 200)}


@pytest.mark.parametrize(
    "login", [("boss", "wrong but long enough"), ("nobody", "wrong but long enough"), ("boss", "")]
)
def test_a_wrong_login_is_refused_everywhere(closed_server, login):
    """In the API, in the UI and where MLflow asks nobody."""
    for path in ("/", "/api/2.0/mlflow/experiments/search?max_results=1", "/static-files/index.html", "/version"):
        assert ask(closed_server.url + path, login=login).status == 401
    for path in ("/api/3.0/mlflow/server-info", "/ajax-api/3.0/jobs/search"):
        assert ask(closed_server.url + path, login=login).status == 401


def test_another_user_sees_nothing_that_is_not_his(closed_server, other, secret_run):
    """Not by name, not by id, not by search, not the file; nor can he make users, or himself an administrator."""
    api = f"{closed_server.url}/api/2.0/mlflow"
    found = ask(f"{api}/experiments/search", "POST", {"max_results": 100}, login=other)
    assert found.status == 200 and not found.json.get("experiments")
    assert ask(f"{api}/experiments/get?experiment_id={secret_run['experiment']}", login=other).status == 403
    assert ask(f"{api}/experiments/get-by-name?experiment_name=secret", login=other).status == 403
    assert ask(f"{api}/runs/get?run_id={secret_run['run']}", login=other).status == 403
    runs = ask(f"{api}/runs/search", "POST", {"experiment_ids": [secret_run["experiment"]]}, login=other)
    assert runs.status == 403 or not runs.json.get("runs")
    assert ask(closed_server.url + secret_run["file"], login=other).status == 403
    assert ask(closed_server.url + secret_run["file"], "DELETE", login=other).status == 403
    new = {"username": "third", "password": "third's own long password"}
    assert ask(f"{api}/users/create", "POST", new, login=other).status == 403
    self_made = {"username": "other", "is_admin": True}
    assert ask(f"{api}/users/update-admin", "PATCH", self_made, login=other).status == 403
    assert closed_server.ask(secret_run["file"]).body == b"secret: true"


def test_a_grant_opens_what_was_granted_and_no_more(closed_server, other, secret_run):
    """With MLflow's own client, as the README says: reading, not writing; and taken back it is closed again."""
    users = get_app_client("basic-auth", tracking_uri=closed_server.url)
    path = f"{closed_server.url}/api/2.0/mlflow/runs/get?run_id={secret_run['run']}"
    tag = {"run_id": secret_run["run"], "key": "k", "value": "v"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", closed_server.login[0])
        patch.setenv("MLFLOW_TRACKING_PASSWORD", closed_server.login[1])
        users.grant_user_permission("other", "experiment", secret_run["experiment"], "READ")
        assert ask(path, login=other).status == 200
        assert ask(closed_server.url + secret_run["file"], login=other).body == b"secret: true"
        assert ask(f"{closed_server.url}/api/2.0/mlflow/runs/set-tag", "POST", tag, login=other).status == 403
        assert ask(closed_server.url + secret_run["file"], "PUT", b"his", login=other).status == 403
        users.revoke_user_permission("other", "experiment", secret_run["experiment"])
    assert ask(path, login=other).status == 403


def test_a_user_works_in_what_is_his(closed_server, other):
    """He makes an experiment, a run and a file in it: what a search of his needs."""
    api = f"{closed_server.url}/api/2.0/mlflow"
    experiment = ask(f"{api}/experiments/create", "POST", {"name": "his"}, login=other).json["experiment_id"]
    run = ask(f"{api}/runs/create", "POST", {"experiment_id": experiment}, login=other).json["run"]["info"]["run_id"]
    metric = {"run_id": run, "key": "accuracy", "value": 0.9, "timestamp": 1, "step": 1}
    assert ask(f"{api}/runs/log-batch", "POST", {"run_id": run, "metrics": [metric]}, login=other).status == 200
    file = f"{closed_server.url}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/a.txt"
    assert ask(file, "PUT", b"mine", login=other).status == 200
    assert ask(file, login=other).body == b"mine"


def test_its_names_are_exact(closed_server):
    """Those that were given, with their ports, and this machine's; nothing like them."""
    port = closed_server.url.rpartition(":")[2]
    for host in ("mlflow.example.com", f"mlflow.example.com:{port}", "[fd00::5]:8443", f"localhost:{port}"):
        assert closed_server.ask("/", Host=host).status == 200, host
    for host in (
        "example.com",
        "mlflow.example.com.evil.example",
        "mlflow.example.com:1",
        "[fd00::5]",
        "10.0.0.5",
        "0.0.0.0",
    ):
        assert closed_server.ask("/", Host=host).status == 403, host


def test_a_check_asks_as_a_user(closed_server, other, tmp_path, monkeypatch, capsys):
    """The administrator by file, any user by MLflow's variables; without password, or with a wrong one: exit code 2."""
    file = private_file(tmp_path / "password", closed_server.login[1])
    options = ["--check", closed_server.url, "--json"]
    assert main([*options, "--admin", "boss", "--admin-password-file", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["authentication"] is True
    assert main(options) == 2 and "asks for a password" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "boss")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong but long enough")
    assert main(options) == 2
    said = capsys.readouterr().err
    assert "wrong password" in said and "wrong but long enough" not in said


def test_no_secret_is_in_arguments_variables_or_logs(closed_server):
    """The administrator's password is in no process's arguments or environment, nor in what the server says."""
    password = closed_server.login[1]
    parent = psutil.Process(closed_server.process.pid)
    for process in [parent, *parent.children(recursive=True)]:
        assert password not in " ".join(process.cmdline())
        assert password not in " ".join(process.environ().values())
    assert password not in closed_server.said()


def test_ctrl_c_ends_it(closed_server):
    """Exit code 0, without a traceback."""
    assert stop(closed_server, signal.SIGINT) == 0
    assert wait_until(lambda: stopped(closed_server.ready["pid"]))
    assert "Traceback" not in closed_server.said()
