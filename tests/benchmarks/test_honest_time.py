"""The sums of the honest-time benchmark; its trainings are what the commands' own tests hold."""

from argparse import Namespace

import pytest
from honest_time import PROMISED, coverage, side_by_side, spec_of

from tune_cnn.spec import parse_spec


def of(mean: float, std: float = 0.0) -> dict[str, float]:
    return {"mean": mean, "std": std}


def test_searched_times_are_told_as_shares_of_those_alone() -> None:
    """3 s beside another against 2 s alone is 1.5; an accuracy by its difference."""
    was = {"train_time_s": 3.0, "total_time_s": 5.0, "accuracy": 0.9, "cotenants": 1.0}
    now = {"train_time_s": of(2.0, 0.1), "total_time_s": of(4.0), "accuracy": of(0.85)}
    document = {
        "points": [{"trial": 7, "epoch": 3, "metrics": was}, {"trial": 8, "epoch": 1, "metrics": {}}],
        "confirmed": [{"trial": 7, "epoch": 3, "metrics": now}],
    }
    (row,) = side_by_side(document)
    assert (row["trial"], row["cotenants"]) == (7, 1.0)
    assert row["train_time_s searched / alone"] == 1.5
    assert row["accuracy searched - mean"] == pytest.approx(0.05)
    assert row["std of train_time_s, share"] == pytest.approx(0.05)


def test_coverage_counts_by_metric_and_weighs_what_is_missing() -> None:
    """19 of 20 inside is what 95 % means: so few or fewer happen 64 times in 100; 15 of 20 three in 1,000."""
    rows = [{"inside": {"accuracy": k > 0, "train_time_s": k > 4}} for k in range(20)]
    told = {row["metric"]: row for row in coverage(rows)}
    assert set(told) == set(PROMISED)
    assert (told["accuracy"]["inside"], told["accuracy"]["share"]) == (19, 0.95)
    assert told["accuracy"]["so few or fewer, if 95 %"] == pytest.approx(1 - 0.95**20)
    assert told["train_time_s"]["so few or fewer, if 95 %"] == pytest.approx(0.0026, abs=1e-4)
    assert told["test_accuracy"]["of"] == 0  # not promised, so neither kept nor broken


def test_its_study_is_one_that_can_be_searched() -> None:
    """And says how it is confirmed."""

    asked = Namespace(
        data="digits", root=None, subset=400, model="small_cnn", epochs=2, trials=4, slots=2, points=3, seeds=2
    )
    spec = parse_spec(spec_of(asked))
    assert spec.confirm is not None
    assert (spec.confirm.points, spec.confirm.seeds, spec.data.subset) == (3, 2, 400)
