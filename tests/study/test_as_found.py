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
BROKEN = """
study: broken
data: {name: image_folder, root: nowhere}
model: {name: small_cnn}
space: {epochs: 1, batch_size: 64, learning_rate: 0.1}
budget: {trials: 1}
"""
SCRIPT = f"""
import json, logging, os, signal, sys, warnings
from pathlib import Path

import optuna

from tune_cnn import Study
from tune_cnn.errors import TuneCnnError


def as_it_is():
    loggers = [logging.getLogger(), logging.getLogger("optuna"), logging.getLogger("elsewhere")]
    return {{
        "environment": dict(os.environ),
        "path": list(sys.path),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "levels": [optuna.logging.get_verbosity(), *(logger.level for logger in loggers)],
        "filters": [str(one) for one in warnings.filters],
    }}


def mine(number, frame):
    pass


signal.signal(signal.SIGTERM, mine)
os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "1"
seen = {{"before": as_it_is()}}
from tune_cnn.study.locations import Locations  # with it comes Ray, whose settings must be there as it is imported
from tune_cnn.study.training.course import train

seen["Ray imported"] = as_it_is()
Study("small", home="studies", tracking_uri="sqlite:///mlflow.db").search({SPEC!r})
seen["search"] = as_it_is()
try:
    Study("told", home="empty", tracking_uri="sqlite:///none.db").front()
except TuneCnnError:
    seen["a study asked of MLflow"] = as_it_is()
locations = Locations(home=Path("studies"), tracking_uri="sqlite:///mlflow.db")
try:
    train("broken.yaml", locations, report=print)
except TuneCnnError as error:
    assert "nowhere" in str(error), error
    seen["a training that failed"] = as_it_is()
Path("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has run."""
    place = tmp_path_factory.mktemp("notebook")
    (place / "broken.yaml").write_text(BROKEN)
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=place, env=environment(place), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_what_a_search_needed_is_gone_after_it(folder: Path) -> None:
    """Ray's and MLflow's settings, folders of the import path, handlers of signals, levels of logs; the user's stay."""
    seen = json.loads((folder / "seen.json").read_text())
    before, imported = seen.pop("before"), seen.pop("Ray imported")
    # An import happens once: Ray's own folder on the path and filters of its warnings are there for good
    assert imported == {**before, "path": imported["path"], "filters": imported["filters"]}
    assert [Path(folder).name for folder in imported["path"] if folder not in before["path"]] == ["thirdparty_files"]
    assert set(seen) == {"search", "a study asked of MLflow", "a training that failed"}
    for when, after in seen.items():
        assert after == imported, when


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
