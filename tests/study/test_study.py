"""Study, as notebooks and scripts use it."""

from pathlib import Path

import pytest

from study.made_up import make_study
from tune_cnn import Study


def test_a_notebook_shows_state_figure_and_table(home: Path) -> None:
    """In one piece that needs no network."""
    page = Study("made-up", home=home)._repr_html_()
    assert "finished, 3 trials, 6 points" in page
    assert "<table>" in page and "plotly" in page.lower() and 'src="http' not in page
    assert len(Study("made-up", home=home).figure().data) >= 3


def test_a_notebook_shows_a_study_that_has_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said where the figure would stand; nothing is raised."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # of another test's server
    assert "does not exist" in Study("later", home=tmp_path)._repr_html_()
    make_study(tmp_path, "empty", points=False)
    page = Study("empty", home=tmp_path)._repr_html_()
    assert "0 trials, 0 points" in page and "<table>" not in page
