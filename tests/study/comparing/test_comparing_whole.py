"""A comparison as a user makes it: the command trains on Ray, answers, and given again trains nothing."""

from pathlib import Path
from typing import Any

import pytest

from study.commands import run, run_json
from tune_cnn.records.store import Store
from tune_cnn.spec.reading.yaml_text import dump_yaml

SPEC = {
    "study": "small",
    "data": {"name": "digits", "subset": 400},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 2, "batch_size": [32, 64], "learning_rate": 0.1, "model.width": 4},
    "resources": {"cpus_per_trial": 1, "slots": 2},
    "budget": {"trials": 1},
}
WORDS = ("compare", "small.yaml", "--over", "batch_size", "--seeds", "2", "--beside")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "small.yaml").write_text(dump_yaml(SPEC))
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Any:
    return run_json(folder, *WORDS)


def test_every_run_is_a_trial_with_a_point_an_epoch(folder: Path, compared: Any) -> None:
    """Cells share the seed of a block; the last point has what the test split gave."""
    store = Store(folder / "studies", create=False)
    trials, points = store.trials("small-compare"), store.points("small-compare")
    store.close()
    assert [(trial.origin, str(trial.state)) for trial in trials] == [("compare", "complete")] * 4
    assert len({trial.seed for trial in trials}) == 2
    assert sorted((p.trial, p.epoch) for p in points) == [(trial, epoch) for trial in range(4) for epoch in (1, 2)]
    assert all(("test_accuracy" in p.metrics) == (p.epoch == 2) for p in points)


def test_the_document_holds_the_answer_and_the_page_is_there(folder: Path, compared: Any) -> None:
    """Means, a difference in pairs, and where the page is."""
    assert compared["baseline"] == "batch_size 32"
    assert [cell["n"] for cell in compared["cells"]] == [2, 2]
    assert compared["cells"][1]["difference"]["accuracy"]["n"] == 2
    assert "What is better" in Path(compared["report"]).read_text(encoding="utf-8")
    assert (folder / "studies" / "small-compare" / "curves.png").stat().st_size > 0


def test_the_same_command_again_trains_nothing(folder: Path, compared: Any) -> None:
    """And answers the same; another comparison of that name is refused."""
    again = run_json(folder, *WORDS)
    assert {**again, "report": None} == {**compared, "report": None}
    refused = run(folder, *WORDS[:-1], code=2)
    assert "answers another question" in refused.stderr and "--study" in refused.stderr
