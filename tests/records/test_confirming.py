"""The runs that confirm a front, in the study's tables and in points.json."""

import pytest
from sqlalchemy import text

from tune_cnn.errors import StudyError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.document import read_document, write_document
from tune_cnn.records.store import Store
from tune_cnn.states import RunState

METRICS = {"accuracy": 0.9, "train_time_s": 2.5}


@pytest.fixture
def studied(store: Store) -> Store:
    store.create_study("s", {}, info={})
    for number in (0, 1):
        store.add_trial("s", number, {"epochs": 3}, seed=number)
    for change in store.deliveries.waiting("s"):
        store.deliveries.acknowledge("s", [change.id])
    return store


def planned(*keys: tuple[int, int, int]) -> list[SeedRun]:
    return [SeedRun(trial=t, epoch=e, number=n, seed=100 * t + n) for t, e, n in keys]


def ended(run: SeedRun, **values: object) -> SeedRun:
    return SeedRun(**{**vars(run), "state": RunState.COMPLETE, "metrics": METRICS, **values})  # type: ignore[arg-type]  # changed by name


def test_the_first_end_of_a_run_wins(studied: Store) -> None:
    """A run is planned until it has ended, and then for good; its trial is written to MLflow once."""
    (run,) = planned((0, 3, 0))
    studied.confirmations.plan("s", [run])
    assert studied.confirmations.runs("s") == [run]
    assert studied.confirmations.end("s", ended(run))
    assert not studied.confirmations.end("s", ended(run, state=RunState.FAILED, reason="later", metrics={}))
    assert studied.confirmations.runs("s") == [ended(run)]
    assert [(c.kind, c.trial) for c in studied.deliveries.waiting("s")] == [("confirmed", 0)]


def test_a_new_plan_keeps_what_has_ended(studied: Store) -> None:
    """Runs that are no longer wanted go unless they have ended; those that are wanted still are not made anew."""
    first, second, third = planned((0, 3, 0), (0, 3, 1), (1, 2, 0))
    studied.confirmations.plan("s", [first, second])
    studied.confirmations.end("s", ended(first))
    studied.confirmations.plan("s", [third])
    assert studied.confirmations.runs("s") == [ended(first), third]


def test_a_failure_keeps_its_reason(studied: Store) -> None:
    """Whatever text an error had."""
    (run,) = planned((0, 3, 0))
    studied.confirmations.plan("s", [run])
    studied.confirmations.end("s", ended(run, state=RunState.INFEASIBLE, reason="out of\0memory", metrics={}))
    (kept,) = studied.confirmations.runs("s")
    assert (kept.state, kept.reason, kept.metrics) == ("infeasible", r"out of\x00memory", {})


def test_runs_go_with_their_study(studied: Store) -> None:
    """Nothing is left that a new study of the name could take for its own."""
    studied.confirmations.plan("s", planned((0, 3, 0)))
    studied.delete_study("s")
    studied.create_study("s", {}, info={})
    assert studied.confirmations.runs("s") == []
    with pytest.raises(StudyError, match="does not exist"):
        studied.confirmations.runs("t")


def test_writes_hold_the_lease(studied: Store) -> None:
    """Who lost the study to another process confirms nothing more in it."""
    (run,) = planned((0, 3, 0))
    with studied.lease("s"):
        studied.confirmations.plan("s", [run])
        with Store(studied.url)._database.write() as connection:
            connection.execute(text("UPDATE tune_cnn_leases SET token = 'theirs'"))
        with pytest.raises(StudyError, match="being searched"):
            studied.confirmations.end("s", ended(run))
    assert studied.confirmations.runs("s") == [run]
    with Store(studied.url)._database.write() as connection:
        connection.execute(text("DELETE FROM tune_cnn_leases"))


def test_they_are_delivered_again_to_another_server(studied: Store) -> None:
    """With everything else."""
    (run,) = planned((0, 3, 0))
    studied.confirmations.plan("s", [run])
    studied.confirmations.end("s", ended(run))
    studied.deliveries.queue_all("s")
    assert [c.trial for c in studied.deliveries.waiting("s") if c.kind == "confirmed"] == [0]


def test_points_json_carries_them(studied: Store) -> None:
    """As they are."""
    first, second = planned((0, 3, 0), (1, 2, 0))
    runs = [ended(first, metrics={"accuracy": 0.5, "val_loss": float("inf")}), second]
    record = studied.study("s")
    assert record is not None
    text = write_document(record, studied.trials("s"), [], runs)
    assert read_document(text, "here").confirmations == tuple(runs)
