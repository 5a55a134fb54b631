"""Images that a loader can't load are found before the first trial, and the advice that is given leads out."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.study.checks.adapting import adapt
from tune_cnn.training.inspection.node import inspect_node

OWN = '''
import numpy as np, torch

class Images(torch.utils.data.Dataset):
    """Forty pictures; {what}."""
    def __init__(self, first):
        self.first, self.seen = first, 0
        {init}
    def __len__(self):
        return 20
    def __getitem__(self, k):
        {item}
        image = np.random.default_rng(self.first + k).integers(0, 255, (3, 16, 16), dtype=np.uint8)
        image[0, 0, 0] = self.seen % 255
        return torch.from_numpy(image), k % 2

def data(root):
    return Images(0), Images(100), Images(200)
'''
PICKLED = {"what": "of a class that can't be pickled", "init": "self.first_class = lambda: 0", "item": "pass"}
CHANGING = {"what": "each of its own at every reading", "init": "pass", "item": "self.seen += 1"}
BOTH = {**PICKLED, "item": "self.seen += 1"}


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """Write the user's module, and give the spec that names it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(kind: dict[str, str], **space: Any) -> StudySpec:
        name = f"own_{abs(hash(str(kind))) % 10**9}"
        (tmp_path / f"{name}.py").write_text(OWN.format(**kind))
        return parse_spec(
            {
                "study": "own",
                "data": {"name": f"{name}:data", "root": str(tmp_path)},
                "model": {"name": "small_cnn"},
                "space": {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "model.width": 4, **space},
                "resources": {"cpus_per_trial": 4},
                "budget": {"trials": 1},
            }
        )

    return make


def searched(spec: StudySpec, cache: Path) -> tuple[StudySpec, list[str]]:
    return adapt(spec, inspect_node(spec, cuda=False, cache_dir=str(cache)), cuda=False)


def test_a_loader_that_needs_processes_for_what_cannot_be_pickled_is_left_out(own_data, tmp_path):
    """`batched` reads the cache by its path, `stream` the user's own data set."""
    spec = own_data(PICKLED, loader=["batched", "stream"], loader_workers={"low": 0, "high": 2})
    adapted, notes = searched(spec, tmp_path / "cache")
    assert adapted.dimension("loader").values == ("batched",) and adapted.dimension("loader_workers").largest == 2
    assert len(notes) == 1 and "loader stream is left out" in notes[0] and "pickled" in notes[0]


def test_where_no_loader_can_have_processes_there_are_none(own_data, tmp_path):
    spec = own_data(PICKLED, loader=["device", "stream"], loader_workers=[0, 2])
    adapted, notes = searched(spec, tmp_path / "cache")
    assert adapted.dimension("loader").values == ("device", "stream")
    assert adapted.dimension("loader_workers").values == (0,) and "loader_workers is 0" in notes[0]


def test_fixed_processes_are_refused_and_the_advice_leads_out(own_data, tmp_path):
    with pytest.raises(SpecError, match=r"space.loader_workers: .*top level, or set loader_workers: 0$"):
        searched(own_data(PICKLED, loader="stream", loader_workers=1), tmp_path / "cache")
    adapted, notes = searched(own_data(PICKLED, loader="stream", loader_workers=0), tmp_path / "cache")
    assert adapted.dimension("loader").values == ("stream",) and notes == []


def test_images_that_change_are_not_for_the_device_loader(own_data, tmp_path):
    spec = own_data(CHANGING, loader=["device", "batched", "stream"])
    adapted, notes = searched(spec, tmp_path / "cache")
    assert adapted.dimension("loader").values == ("batched", "stream")
    assert any(note.startswith("loader device is left out: it needs the decoded images") for note in notes)


def test_the_device_loader_alone_is_refused_and_the_advice_leads_out(own_data, tmp_path):
    with pytest.raises(SpecError, match=r"space.loader: device .*; set loader to batched or stream$"):
        searched(own_data(CHANGING), tmp_path / "cache")
    for loader in ("batched", "stream"):
        assert searched(own_data(CHANGING, loader=loader), tmp_path / "cache")[1] == []


def test_images_that_change_and_cannot_be_pickled_are_read_here(own_data, tmp_path):
    spec = own_data(BOTH, loader=["device", "batched", "stream"], loader_workers=[0, 1])
    adapted, _ = searched(spec, tmp_path / "cache")
    assert adapted.dimension("loader").values == ("batched", "stream")
    assert adapted.dimension("loader_workers").values == (0,)
