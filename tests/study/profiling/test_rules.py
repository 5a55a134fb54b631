"""What holds a step up is named right, from what was measured of it; and the page has the numbers of the rules."""

import pytest

from tune_cnn.study.profiling import rules
from tune_cnn.study.profiling.rules import Bound, expected_images_per_s, in_words, near_best, stall_of


def measured(**changes: float) -> dict[str, float]:
    """A step that its own arithmetic decides."""
    return {
        "images_per_s": 980.0,
        "ceiling_images_per_s": 1000.0,
        "loader_images_per_s": 5000.0,
        "data_wait_pct": 0.5,
        "fixed_pct": 5.0,
        **changes,
    }


def bound(workers: int = 2, **changes: float) -> Bound:
    return stall_of(measured(**changes), workers=workers).bound


def test_a_huge_model_is_compute_bound() -> None:
    """The step takes so long that the loader has a hundred times the room."""
    assert bound(images_per_s=9.9, ceiling_images_per_s=10.0, loader_images_per_s=1000.0) is Bound.COMPUTE


def test_a_slow_loader_beside_the_step_is_loader_bound() -> None:
    assert bound(images_per_s=290.0, loader_images_per_s=300.0, data_wait_pct=70.0) is Bound.LOADER


def test_a_loader_in_the_steps_own_turn_is_loader_bound_though_it_is_faster_than_the_step() -> None:
    """They take turns: 1,000 and 2,000 images a second come to 667."""
    slow = {"images_per_s": 660.0, "loader_images_per_s": 2000.0, "data_wait_pct": 0.0}
    assert bound(workers=0, **slow) is Bound.LOADER
    assert expected_images_per_s(2000.0, 1000.0, at_once=False) == pytest.approx(667, abs=1)
    assert expected_images_per_s(2000.0, 1000.0, at_once=True) == 1000


def test_loader_and_step_that_are_only_slow_together_want_more_cores() -> None:
    """Each alone has room, nothing is waited for, and yet half of the ceiling is reached."""
    assert bound(images_per_s=500.0, loader_images_per_s=1500.0, data_wait_pct=4.0) is Bound.HOST


def test_a_wait_for_data_is_the_loaders_whatever_it_delivers_alone() -> None:
    assert bound(images_per_s=500.0, loader_images_per_s=1500.0, data_wait_pct=45.0) is Bound.LOADER


def test_a_step_that_half_a_batch_takes_as_well_is_launch_bound() -> None:
    assert bound(fixed_pct=80.0) is Bound.HOST
    assert bound(fixed_pct=20.0) is Bound.COMPUTE


def test_a_gpu_that_idles_at_the_ceiling_is_launch_bound() -> None:
    """Steps that were compiled or captured have no half batch to tell it by."""
    idle = measured(ceiling_gpu_util_pct=40.0)
    busy = measured(ceiling_gpu_util_pct=97.0)
    for one in (idle, busy):
        del one["fixed_pct"]
    assert stall_of(idle, workers=1).bound is Bound.HOST
    assert stall_of(busy, workers=1).bound is Bound.COMPUTE


def test_ranks_that_exchange_for_longer_than_they_reckon_are_communication_bound() -> None:
    found = stall_of(measured(communication_pct=60.0, slowest_rank_ratio=1.02), workers=1)
    assert found.bound is Bound.COMMUNICATION
    assert "exchange of gradients" in found.why


def test_ranks_that_wait_for_a_throttled_one_are_told_so() -> None:
    found = stall_of(measured(communication_pct=45.0, slowest_rank_ratio=1.8), workers=1)
    assert found.bound is Bound.COMMUNICATION
    assert "the slowest takes 1.80 times" in found.why


def test_the_larger_loss_is_named() -> None:
    """A loader that costs two thirds hides an exchange that costs a quarter of the rest."""
    slow = {"images_per_s": 330.0, "loader_images_per_s": 340.0, "data_wait_pct": 65.0, "communication_pct": 25.0}
    assert bound(**slow) is Bound.LOADER
    assert bound(communication_pct=25.0) is Bound.COMMUNICATION


@pytest.mark.parametrize(("images_per_s", "expected"), [(799.0, Bound.LOADER), (801.0, Bound.COMPUTE)])
def test_the_share_of_the_ceiling_decides_whether_the_step_is_looked_at(images_per_s: float, expected: Bound) -> None:
    assert bound(images_per_s=images_per_s, loader_images_per_s=810.0) is expected


def test_the_page_has_every_stall_and_the_numbers_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very numbers by which it is decided: a rule that is changed changes the page."""
    assert {name for name, _, _ in in_words()} == {rules.NAMES[one] for one in Bound if one is not Bound.FAILED}
    monkeypatch.setattr(rules, "REACHED_PCT", 61.0)
    monkeypatch.setattr(rules, "FIXED_PCT", 43.0)
    told = " ".join(when for _, when, _ in in_words())
    assert "61 %" in told and "43 %" in told
    assert stall_of(measured(images_per_s=650.0), workers=2).bound is Bound.COMPUTE


def test_a_cell_from_which_other_work_took_a_tenth_says_little() -> None:
    """Where the system doesn't tell, it counts as undisturbed."""
    assert [rules.is_disturbed(measured(taken_pct=taken)) for taken in (5.0, 15.0)] == [False, True]
    assert not rules.is_disturbed(measured())


def test_within_two_per_cent_is_as_good_as_the_best() -> None:
    assert near_best([100.0, 98.1, 97.9, 50.0]) == [True, True, False, False]
