"""Which cells a profile has: what changes a step's cost, each cost once, an even part where time is short."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tune_cnn.errors import InputError, SpecError
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.study.profiling.cells import MOST_LEVELS, Cell, even_part, grid, in_blocks, levels_of


def spec_of(space: dict[str, Any], **more: Any) -> StudySpec:
    rest = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}
    return parse_spec({**rest, "resources": {"cpus_per_trial": 4}, "space": space, **more})


def cells_of(space: dict[str, Any], ranks: tuple[int, ...] = (1,), at_most: int | None = None) -> list[Cell]:
    return grid(spec_of(space), {}, ranks, at_most=at_most)[0]


LOADERS = {"batch_size": [32, 64], "loader": ["device", "batched", "stream"], "loader_workers": [0, 1]}


def test_what_has_no_meaning_beside_the_others_makes_no_cell() -> None:
    """The device loader has no workers: five ways to load, not six."""
    cells = cells_of(LOADERS)
    assert len(cells) == 2 * (1 + 2 + 2)
    assert all("loader_workers" not in cell.params for cell in cells if cell.params["loader"] == "device")


def test_what_does_not_change_the_cost_is_no_dimension() -> None:
    space = {**LOADERS, "learning_rate": {"low": 0.01, "high": 1.0}, "epochs": [1, 2], "momentum": [0.5, 0.9]}
    assert cells_of(space) == cells_of(LOADERS)


def test_clipping_costs_the_same_whatever_the_limit() -> None:
    found = levels_of(spec_of({"gradient_clip": [0.0, 1.0, 5.0]}))["gradient_clip"]
    assert sorted(map(bool, found)) == [False, True]
    assert len(levels_of(spec_of({"gradient_clip": {"low": 0.5, "high": 5.0}}))["gradient_clip"]) == 1


def test_ranks_are_a_dimension() -> None:
    assert Counter(cell.ranks for cell in cells_of(LOADERS, (1, 2))) == {1: 10, 2: 10}
    assert [cell.ranks for cell in cells_of({"batch_size": 64}, (1, 2))] == [1, 2]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"low": 16, "high": 1024, "log": True}, [16, 32, 64, 128, 256, 512, 1024]),
        ({"low": 16, "high": 100, "log": True}, [16, 32, 64, 100]),
        ({"low": 64, "high": 256, "step": 64}, [64, 128, 192, 256]),
    ],
)
def test_a_range_has_its_ends_and_doublings_or_steps(batch: dict[str, Any], expected: list[int]) -> None:
    assert levels_of(spec_of({"batch_size": batch}))["batch_size"] == expected


def test_a_long_range_is_thinned_evenly_with_its_ends() -> None:
    levels = levels_of(spec_of({"model.width": {"low": 1, "high": 64}}))["model.width"]
    assert (levels[0], levels[-1], len(levels)) == (1, 64, MOST_LEVELS)
    gaps = {after - before for before, after in pairwise(levels)}
    assert max(gaps) - min(gaps) <= 1


def test_an_even_part_has_every_value_about_as_often() -> None:
    cells = cells_of({"batch_size": [16, 32, 64, 128], "model.width": [4, 8], "augment": ["none", "flip"]})
    part = even_part(cells, 8, seed=0)
    assert len({repr(cell) for cell in part}) == 8
    for key, often in (("batch_size", 2), ("model.width", 4), ("augment", 4)):
        assert set(Counter(cell.params[key] for cell in part).values()) == {often}
    pairs = Counter((cell.params["batch_size"], cell.params["augment"]) for cell in part)
    assert set(pairs.values()) == {1}


def test_every_block_has_all_cells_in_another_order_and_ranks_together() -> None:
    cells = cells_of(LOADERS, (1, 2))
    order = in_blocks(cells, 3, seed=0)
    blocks = [[at for block, at in order if block == number] for number in range(3)]
    assert all(sorted(block) == list(range(len(cells))) for block in blocks)
    assert len({tuple(block) for block in blocks}) == 3
    ranks = [cells[at].ranks for _, at in order]
    assert sum(one != other for one, other in pairwise(ranks)) == 3  # never at a block's begin


@pytest.mark.parametrize(
    ("space", "ranks", "at_most", "said"),
    [
        ({"epochs": [1, 2]}, (1,), None, "nothing in the space of 's' changes what a step costs"),
        ({"loader": ["device"]}, (1,), None, "nothing in the space"),
        ({"gradient_clip": [1.0, 5.0]}, (1,), None, "the grid has one cell"),
        ({"batch_size": [33, 64]}, (1, 2), None, "a batch of 33 can't be divided over 2 ranks"),
        (LOADERS, (1,), 1, "--minutes leaves no time for two cells"),
        ({f"model.a{n}": list(range(8)) for n in range(5)}, (1,), None, "--minutes M measures an even part"),
    ],
)
def test_what_can_not_be_a_profile_is_refused(
    space: dict[str, Any], ranks: tuple[int, ...], at_most: int | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        cells_of(space, ranks, at_most)


def test_a_range_without_values_is_refused_with_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"space\.model\.drop: .* has no values to measure; give a list or a step"):
        cells_of({"model.drop": {"low": 0.0, "high": 0.5}})


def test_a_grid_beyond_all_bounds_is_measured_in_part() -> None:
    cells, _ = grid(spec_of({f"model.a{n}": list(range(8)) for n in range(6)}), {}, (1,), at_most=4)
    assert len(cells) == 4
