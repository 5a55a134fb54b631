"""The commands that are typed next: they find the study, its MLflow and its cluster again."""

from pathlib import Path

import pytest

from tune_cnn.study.hints import NextCommands


def test_what_lies_where_a_command_looks_by_itself_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the environment has it look elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("TUNE_CNN_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    typed = NextCommands(study="s", home=tmp_path / "studies", tracking_uri="sqlite:///mlflow.db")
    assert typed.confirm == "tune-cnn confirm s"
    assert typed.sync == "tune-cnn sync s"
    assert typed.export == "tune-cnn export s -o best.yaml"
    monkeypatch.setenv("TUNE_CNN_HOME", "/elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert typed.sync == f"tune-cnn sync s --home {tmp_path}/studies --tracking-uri sqlite:///mlflow.db"


def test_all_other_places_are_named() -> None:
    """A `sync` or `confirm` without them would tell another MLflow, and train on another machine."""
    typed = NextCommands(
        study="s", home=Path("/my studies"), tracking_uri="http://there:5000", address="head:6379", storage="s3://b"
    )
    there = "--home '/my studies' --tracking-uri http://there:5000"
    assert typed.confirm == f"tune-cnn confirm s {there} --address head:6379 --storage s3://b"
    assert typed.sync == f"tune-cnn sync s {there}"
    assert typed.report == f"tune-cnn report s {there} -o report.html"
    assert typed.train == "tune-cnn train best.yaml --address head:6379"


def test_a_password_is_never_typed() -> None:
    """It stands in the environment, from which the next command has it too."""
    typed = NextCommands(study="s", home=Path("/home"), tracking_uri="postgresql://me:secret@there/db")
    assert typed.sync == "tune-cnn sync s --home /home"
