"""points.json and the front's trials_on_front: what readers and filters see."""

import json
import math
from datetime import UTC, datetime

import pytest

from tune_cnn.errors import StudyError
from tune_cnn.metrics import METRICS
from tune_cnn.records.document import read_document, write_document
from tune_cnn.records.front_history import growth, trials_on_front
from tune_cnn.records.rows import PointRecord, StudyRecord, TrialRecord
from tune_cnn.states import StudyState, TrialState

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
OBJECTIVES = [METRICS["accuracy"], METRICS["train_time_s"]]
REFERENCE = {"accuracy": 0.0, "train_time_s": 100.0}


def point(trial: int, epoch: int, accuracy: float, time_s: float, **metrics: float) -> PointRecord:
    values = {"accuracy": accuracy, "train_time_s": time_s, **metrics}
    return PointRecord(trial=trial, epoch=epoch, metrics=values, id=epoch, checkpoint=None, reported_ms=1_000 + epoch)


STUDY = StudyRecord(
    name="s",
    uid="u",
    spec={"space": {"lr": {"low": 0.1}}},
    info={"x": math.nan},
    state=StudyState.FINISHED,
    reference=REFERENCE,
    searched_s=1.5,
    created=AT,
    started=AT,
    updated=AT,
    experiment_id="1",
    run_id="r",
)
TRIAL = TrialRecord(
    number=0,
    params={"batch_size": 32},
    seed=1,
    origin="sampler",
    state=TrialState.FAILED,
    reason="NaN",
    started=AT,
    ended=None,
    attempts=2,
    run_id="c",
    extra={"gpus": 0.5},
)


def test_a_study_survives_its_document() -> None:
    """Study, trials and points come back equal, but what points.json doesn't carry."""
    points = [point(0, 1, 0.5, 1.0), point(0, 2, 0.6, math.inf)]
    archive = read_document(write_document(STUDY, [TRIAL], points), "here")
    assert archive.trials == (TRIAL,)
    assert [(p.trial, p.epoch, p.metrics, p.reported_ms) for p in archive.points] == [
        (p.trial, p.epoch, p.metrics, p.reported_ms) for p in points
    ]
    assert (archive.study.spec, archive.study.reference, archive.study.created) == (STUDY.spec, REFERENCE, AT)


def test_a_document_is_json_to_every_reader() -> None:
    """Numbers that JSON lacks are strings."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    text = write_document(STUDY, [TRIAL], [point(0, 1, math.nan, -math.inf)])
    raw = json.loads(text, parse_constant=refuse)
    assert raw["points"][0]["metrics"] == {"accuracy": "NaN", "train_time_s": "-Infinity"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other", "version": 1}', "<html>"])
def test_what_is_no_document_is_said(text: str) -> None:
    with pytest.raises(StudyError, match=r"here: is not a study's points\.json"):
        read_document(text, "here")


def test_a_newer_document_is_refused() -> None:
    with pytest.raises(StudyError, match="newer tune_cnn"):
        read_document('{"format": "tune_cnn study", "version": 2}', "here")


def test_the_chosen_epoch_is_the_one_that_the_front_would_miss_most() -> None:
    """With a reference point; without one, the last epoch on the front. Trials off it have none."""
    points = [point(0, 1, 0.1, 1.0), point(0, 2, 0.8, 2.0), point(0, 3, 0.81, 90.0), point(1, 1, 0.05, 99.0)]
    chosen = trials_on_front(points, OBJECTIVES, {}, REFERENCE)
    assert {trial: (one.epochs, one.point.epoch) for trial, one in chosen.items()} == {0: ((1, 2, 3), 2)}
    assert trials_on_front(points, OBJECTIVES, {}, None)[0].point.epoch == 3


def test_points_beyond_a_constraint_are_neither_chosen_nor_counted() -> None:
    points = [point(0, 1, 0.5, 1.0, peak_memory_mib=10.0), point(1, 1, 0.9, 1.0, peak_memory_mib=99.0)]
    limits = {"peak_memory_mib": {"max": 20.0}}
    assert list(trials_on_front(points, OBJECTIVES, limits, REFERENCE)) == [0]
    assert [g.points for g in growth(points, OBJECTIVES, limits, REFERENCE)] == [1]


def test_growth_is_listed_where_the_front_changes() -> None:
    """One row for each point that changed it, at that point's time; the hypervolume never falls."""
    points = [point(0, 1, 0.5, 10.0), point(0, 2, 0.4, 20.0), point(0, 3, 0.9, 10.0)]
    grown = growth(points, OBJECTIVES, {}, REFERENCE)
    assert [(g.points, g.reported_ms, g.front_size) for g in grown] == [(1, 1_001, 1), (3, 1_003, 1)]
    assert grown[0].hypervolume == pytest.approx(0.5) and grown[1].hypervolume == pytest.approx(0.9)
