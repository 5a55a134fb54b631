"""How long a profile takes, and that what was measured isn't measured again."""

from pathlib import Path
from typing import Any

import pytest

from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.costs import cost_key
from tune_cnn.study.profiling.cells import Cell
from tune_cnn.study.profiling.plan import Place, cells_in, keep, known_of, seconds_of
from tune_cnn.study.profiling.ranks import with_ranks
from tune_cnn.trials.cluster.machines import Slots

SLOTS = Slots(count=1, bundles=({"CPU": 2.0},), gpu_share=0.0, slots_per_gpu=1)
MEASURED = {"images_per_s": 640.0, "step_time_ms": 100.0, "eval_time_s": 0.5, "compile_time_s": 1.0}


def spec_of(**resources: Any) -> StudySpec:
    return parse_spec(
        {
            "study": "s",
            "data": {"name": "digits"},
            "model": {"name": "small_cnn"},
            "space": {"batch_size": [32, 64], "epochs": 3},
            "resources": {"cpus_per_trial": 2, **resources},
            "budget": {"trials": 1},
        }
    )


def place(spec: StudySpec, **setup: Any) -> Place:
    return Place(spec=spec, slots=SLOTS, setup={"cpu": "some", **setup})


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


CELLS = [Cell(params={"batch_size": 32}, ranks=1), Cell(params={"batch_size": 64}, ranks=1)]


def test_what_a_profile_measured_a_later_one_knows(store: Store) -> None:
    """On the same hardware alone."""
    here = place(spec_of())
    keep(store, here, CELLS[1], MEASURED, train_images=1000, late=False)
    assert known_of(store, {1: here}, CELLS) == [{}, MEASURED]
    assert known_of(store, {1: place(spec_of(), cpu="another")}, CELLS) == [{}, {}]


def test_a_search_knows_it_too(store: Store) -> None:
    here = place(spec_of())
    keep(store, here, CELLS[1], MEASURED, train_images=1000, late=False)
    cost = store.costs.known(here.setup)[cost_key({"batch_size": 64, "epochs": 50, "learning_rate": 9.0})].cost
    assert (cost.step_time_s, cost.steps_per_epoch, cost.eval_time_s, cost.start_time_s) == (0.1, 16, 0.5, 1.0)


def test_a_search_is_not_told_what_a_strategy_changes_later(store: Store) -> None:
    here = place(spec_of())
    keep(store, here, CELLS[0], MEASURED, train_images=1000, late=True)
    assert store.costs.known(here.setup) == {}
    assert known_of(store, {1: here}, CELLS[:1]) == [MEASURED]


def test_each_rank_has_the_cores_of_the_specs_ranks() -> None:
    """Two ranks on four cores: one has two, three have six."""
    spec = spec_of(ranks=2, cpus_per_trial=4)
    assert with_ranks(spec, 2) is spec
    assert [with_ranks(spec, ranks).resources.cpus_per_trial for ranks in (1, 3)] == [2, 6]


def test_as_many_cells_are_chosen_as_the_minutes_have_room_for() -> None:
    """What they take is what was asked for, or less."""
    for minutes in (2.0, 5.0, 30.0):
        cells = cells_in(minutes, 1)
        assert cells > 2
        assert seconds_of([1] * cells * 3) < 60 * minutes
    assert cells_in(0.1, 1) == 0
    assert cells_in(10, 2) < cells_in(10, 1)
