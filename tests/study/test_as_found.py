"""A search, a failure and a training from Python, as a notebook runs them: what they leave of themselves behind."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.commands import environment
from tune_cnn import Study

SPEC: dict[str, Any] = {
    "data": {"name": "digits", "subset": 400},
    "model": {"name": "small_cnn"},
    "space": {
        "epochs": 2,
        "batch_size": [64, 128],
        # The later of two that can't be on together is not drawn where the first is on
        "strategies": {"net2net": {"grow_at": 0.5}, "weight_norm": {}},
    },
    "budget": {"trials": 6},
    "resources": {"slots": 1},
}
SCRIPT = f"""
from tune_cnn import Study

study = Study("small", home="studies", tracking_uri="sqlite:///mlflow.db")
study.search({SPEC!r})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has run."""
    place = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=place, env=environment(place), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_a_report_written_later_shows_what_the_search_itself_reported(folder: Path) -> None:
    """Of strategies that can't be on together as well: without their cards, which a reader of a store doesn't have."""
    Study("small", home=folder / "studies").report(folder / "later.html")
    at_its_end, later = (_importances(folder / name) for name in ("studies/small/report.html", "later.html"))
    assert {key for bars in later["data"] for key in bars["y"]} >= {"batch_size", "strategies.weight_norm"}
    assert later == at_its_end


def _importances(report: Path) -> Any:
    found = re.search(r'data-figure="figure-importances"[^>]*>(.*?)</script>', report.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])
