"""The commands that are typed next: they find the study, its MLflow and its cluster again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.records.mlflow.environment import runs_page
from tune_cnn.study.hints import NextCommands

PLAIN = ("tune-cnn",)


def test_what_lies_where_a_command_looks_by_itself_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the environment has it look elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("TUNE_CNN_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    typed = NextCommands(study="s", home=tmp_path / "studies", tracking_uri="sqlite:///mlflow.db", started=PLAIN)
    assert typed.confirm == "tune-cnn confirm s"
    assert typed.sync == "tune-cnn sync s"
    assert typed.export == "tune-cnn export s -o best.yaml"
    monkeypatch.setenv("TUNE_CNN_HOME", "/elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert typed.sync == f"tune-cnn sync s --home {tmp_path}/studies --tracking-uri sqlite:///mlflow.db"


def test_all_other_places_are_named() -> None:
    """A `sync` or `confirm` without them would tell another MLflow, and train on another machine."""
    typed = NextCommands(
        study="s",
        home=Path("/my studies"),
        tracking_uri="http://there:5000",
        address="head:6379",
        storage="s3://b",
        started=PLAIN,
    )
    there = "--home '/my studies' --tracking-uri http://there:5000"
    assert typed.confirm == f"tune-cnn confirm s {there} --address head:6379 --storage s3://b"
    assert typed.sync == f"tune-cnn sync s {there}"
    assert typed.report == f"tune-cnn report s {there} -o report.html"
    assert typed.train == "tune-cnn train best.yaml --address head:6379"


def test_a_password_is_never_typed() -> None:
    """It stands in the environment, from which the next command has it too."""
    typed = NextCommands(study="s", home=Path("/home"), tracking_uri="postgresql://me:secret@there/db", started=PLAIN)
    assert typed.sync == "tune-cnn sync s --home /home"


def test_mlflow_is_started_as_this_command_was() -> None:
    """Its own command lies beside ours; a server is a page already, and a password is left out."""
    database = ("ui", "--backend-store-uri", "sqlite:///mlflow.db")
    for started, words in (
        (PLAIN, ("mlflow",)),
        (("uv", "run", "tune-cnn"), ("uv", "run", "mlflow")),
        (("/env/bin/tune-cnn",), ("/env/bin/mlflow",)),
        (("/env/bin/python", "-m", "tune_cnn"), ("/env/bin/python", "-m", "mlflow")),
    ):
        assert NextCommands(study="s", home=Path("/home"), started=started).ui == " ".join((*words, *database))
    assert NextCommands(study="s", home=Path("/home"), tracking_uri="http://me:secret@there").ui == "http://there"


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://there:8000", "http://there:8000/#/experiments/7/runs?workflowType=machine_learning"),
        ("https://me:secret@there/ml/", "https://there/ml/#/experiments/7/runs?workflowType=machine_learning"),
        ("sqlite:///mlflow.db", "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning"),
        ("databricks", None),
    ],
)
def test_the_runs_have_an_address(uri: str, page: str | None) -> None:
    """At the server, or where `mlflow ui` shows a database; elsewhere the page is not MLflow's."""
    assert runs_page(uri, "7") == page


def test_a_next_command_runs_as_it_is_printed(tmp_path: Path) -> None:
    """In a shell that has no `tune-cnn` on its path: the one named in the message of an empty home starts."""
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV", "MLFLOW_"))
    }
    env = {**plain, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "tune_cnn", "list"]
    said = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stderr
    printed = said.split("`")[1]
    assert printed.endswith(" search")
    shown = subprocess.run(f"{printed} --help", shell=True, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert shown.returncode == 0 and b"search" in shown.stdout
