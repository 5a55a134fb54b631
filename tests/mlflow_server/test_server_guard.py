"""The guard in front of MLflow: who gets through, from which pages, to which features."""

import asyncio

import pytest

from mlflow_server.guard import Guard, switched_off

OWN = "https://mlflow.example.com"


def through(path="/", *, headers=(), knows=None, left_open=False, kind="http"):
    """The status that a request gets; 200 where it reaches the application."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def asked(scope):
        return bool(knows)

    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(application, origins=[OWN], knows=None if knows is None else asked, left_open=lambda path: left_open)
    scope = {"type": kind, "path": path, "headers": [(k.encode(), v.encode()) for k, v in headers]}
    asyncio.run(guard(scope, None, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize(
    "path",
    [
        "/gateway/mlflow/v1/models",
        "/ajax-api/3.0/mlflow/assistant/message",
        "//ajax-api//3.0/mlflow/assistant/message",
        "/ajax-api/3.0/jobs/",
        "/ajax-api/3.0/jobs/search",
        "/api/3.0/mlflow/jobs/1",
        "/api/3.0/mlflow/gateway/secrets/create",
        "/ajax-api/2.0/mlflow/gateway-proxy",
        "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
        "/ajax-api/3.0/mlflow/scorer/invoke",
        "/ajax-api/3.0/mlflow/issues/invoke",
        "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
        "/api/3.0/mlflow/prompt-optimization/jobs",
    ],
)
def test_what_runs_programs_or_spends_credentials_is_off(path):
    """Jobs, the assistant with its shell, the gateway and what stands on them: for administrators too."""
    assert switched_off(path)
    assert through(path, knows=True, headers=[("authorization", "x")]) == 404


@pytest.mark.parametrize(
    "path",
    ["/", "/api/2.0/mlflow/runs/create", "/api/2.0/mlflow/runs/log-batch", "/graphql", "/api/3.0/mlflow/issues/search",
     "/ajax-api/3.0/mlflow/server-info", "/api/2.0/mlflow/scorers/list", "/gateways"],
)  # fmt: skip
def test_what_records_is_on(path):
    """Runs, models, traces and the UI."""
    assert not switched_off(path)
    assert through(path) == 200


@pytest.mark.parametrize("origin", ["http://localhost:8888", "https://evil.example", "null", OWN + ".evil.example", ""])
def test_another_sites_page_gets_nothing(origin):
    """Also a page on another port of localhost, which MLflow trusts; the own pages get through."""
    assert through(headers=[("origin", origin)]) == 403
    assert through(headers=[("origin", OWN.upper())]) == 200


@pytest.mark.parametrize("path", ["/health", "/version"])
def test_health_and_version_answer_anyone(path):
    """As load balancers ask."""
    assert through(path, knows=False, headers=[("origin", "https://evil.example")]) == 200


@pytest.mark.parametrize(
    "path", ["/healthy", "/health/", "/static-files/x.js", "/nothing", "/api/3.0/mlflow/server-info"]
)
def test_with_users_all_else_asks_who_it_is(path):
    """Nobody; somebody unknown where MLflow itself asks nobody; somebody known."""
    login = [("authorization", "Basic eDp5")]
    assert through(path, knows=False, left_open=True) == 401
    assert through(path, knows=False, left_open=True, headers=login) == 401
    assert through(path, knows=True, left_open=True, headers=login) == 200


def test_websockets_are_closed():
    """MLflow has none."""
    assert through(kind="websocket", knows=True) == "websocket.close"
