"""`search --dry-run`: what fits, what fails, and what of that is kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tune_cnn.records.store import Store
from tune_cnn.spec import Configuration, StudySpec, parse_spec
from tune_cnn.study.locations import Locations
from tune_cnn.study.searching.costs import setup_of
from tune_cnn.study.searching.dry_run import beyond_budget, dry_run

SLOTS = 2
NET = '''
import os, signal
from pathlib import Path
from torch import nn

class Net(nn.Module):
    """Trains batches of 16; each of the others ends in a way of its own. Writes down which process trained which."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.linear = nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)

    def forward(self, images):
        size = len(images)
        if self.training and size in (16, 32, 64, 128):
            Path(__file__).with_name(f"trained-{size}-{os.getpid()}").touch()
            if size == 32:
                raise RuntimeError("a mistake of the user's")
            if size == 64:
                bytearray(2**62)
            if size == 128:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.linear(images.flatten(1))
'''
SPEC: dict[str, Any] = {
    "study": "dry",
    "data": {"name": "digits"},
    "model": {"name": "net_of_a_dry_run:Net"},
    "space": {"epochs": 2, "batch_size": [16, 32, 64, 128]},
    "resources": {"gpus_per_rank": 0, "slots": SLOTS},
    "budget": {"trials": 4},
}
GROWING = {
    **SPEC,
    "model": {"name": "small_cnn"},
    "space": {"epochs": 2, "batch_size": 200, "strategies": {"net2net": [True, False]}},
}


@pytest.fixture(scope="module")
def folder(one_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a user with a net of his own."""
    place = tmp_path_factory.mktemp("dry-run")
    (place / "net_of_a_dry_run.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        patch.setenv("TUNE_CNN_CACHE", str(place / "cache"))
        yield place


@pytest.fixture(scope="module")
def first(folder: Path) -> Mapping[str, Any]:
    """What was found, and by batch how many processes trained: another run would add its own."""
    found = _run(SPEC, folder)
    return {**found, "processes": {size: len(list(folder.glob(f"trained-{size}-*"))) for size in (16, 32, 64, 128)}}


def test_every_configuration_says_how_it_went(first: Mapping[str, Any]) -> None:
    """One that ends its process keeps none of the others from being probed."""
    rows = _by_batch(first)
    assert {size: row["fits"] for size, row in rows.items()} == {16: True, 32: None, 64: False, 128: None}
    assert rows[16]["step_time_ms"] > 0 and rows[16]["reason"] is None
    assert "a mistake of the user's" in rows[32]["reason"]
    assert "out of memory" in rows[64]["reason"]
    assert "its process died" in rows[128]["reason"]
    assert first["phases"][0]["fit"] == sum(row["params"]["batch_size"] == 16 for row in _rows(first))


def test_each_is_measured_while_all_slots_are_busy(first: Mapping[str, Any]) -> None:
    """It is kept as the cost beside that many others."""
    assert first["phases"][0]["slots"] == SLOTS
    assert first["processes"] == dict.fromkeys((16, 32, 64, 128), SLOTS)


def test_only_costs_and_what_memory_did_not_hold_are_kept(first: Mapping[str, Any], folder: Path) -> None:
    """A mistake is mended and a process may have died by chance: the search must not take them for a lack of memory."""
    kept = _kept(SPEC, first, folder)
    assert {size: fits for size, (fits, _) in kept.items()} == {16: True, 64: False}
    assert kept[16][1] is not None and kept[64][1] is None


def test_what_failed_is_probed_again_and_what_is_known_is_not(first: Mapping[str, Any], folder: Path) -> None:
    again = _run(SPEC, folder)
    assert [phase["probed"] for phase in (first["phases"][0], again["phases"][0])] == [4, 2]
    assert _by_batch(again)[16] == _by_batch(first)[16]


def test_a_net_that_grows_later_is_measured_with_a_caveat_and_not_kept(folder: Path) -> None:
    """Its first epoch says neither what the trial takes nor whether memory holds it."""
    found = _run(GROWING, folder)
    rows = {row["params"]["strategies.net2net"]: row for row in _rows(found)}
    assert rows[True]["fits"] and "before net2net changes" in rows[True]["note"]
    assert rows[False]["fits"] and rows[False]["note"] is None
    store = Store(folder / "studies", create=False)
    kept = store.costs.known(setup_of(_spec(GROWING), found["info"]))
    store.close()
    assert [known.params["strategies.net2net"] for known in kept.values()] == [False]


def _spec(raw: Mapping[str, Any]) -> StudySpec:
    return parse_spec(dict(raw))


def _run(raw: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    locations = Locations(home=folder / "studies", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return dry_run(_spec(raw), locations, report=print)


def _rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = found["phases"][0]["probes"]
    return rows


def _by_batch(found: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {row["params"]["batch_size"]: row for row in _rows(found)}


def _kept(raw: Mapping[str, Any], found: Mapping[str, Any], folder: Path) -> dict[int, tuple[bool, float | None]]:
    """By batch: whether it fits, and the seconds of a step."""
    store = Store(folder / "studies", create=False)
    known = store.costs.known(setup_of(_spec(raw), found["info"])).values()
    store.close()
    return {one.params["batch_size"]: (one.reason is None, one.cost.step_time_s) for one in known}


def test_a_trial_longer_than_the_whole_search_is_told():
    """Of several trainings in one, how many they are, and what to lower."""
    tickets = Configuration(strategies={"lottery_ticket": True, "lottery_ticket.levels": 4})
    assert beyond_budget(tickets, 7200.0, 1.5) == (
        "its 5 trainings take 2 h, more than budget.hours=1.5; lower strategies.lottery_ticket.levels"
    )
    assert beyond_budget(Configuration(), 7200.0, 1.5) == "it takes 2 h, more than budget.hours=1.5; lower epochs"
    assert beyond_budget(tickets, 5000.0, 1.5) is beyond_budget(tickets, None, 1.5) is None
