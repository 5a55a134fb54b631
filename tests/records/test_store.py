"""What every store promises, on SQLite and PostgreSQL alike."""

import math
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from tune_cnn.errors import StoreError, StudyError
from tune_cnn.records.store import Store
from tune_cnn.records.tables import leases
from tune_cnn.states import StudyState, TrialState


def study(store: Store, trials: int = 1, name: str = "s") -> Store:
    store.create_study(name, {"a": [1, {"low": 0.1}]}, info={"gpu": None})
    for number in range(trials):
        store.add_trial(name, number, {"batch_size": 32, "model.name": "ü\0"}, seed=7, origin="warm_start")
    return store


def test_what_was_stored_comes_back(store: Store) -> None:
    """Specs, parameters and facts survive as they are; times are UTC."""
    study(store)
    record, trial = store.study("s"), store.trials("s")[0]
    assert record is not None and (record.spec, record.info, record.state) == (
        {"a": [1, {"low": 0.1}]},
        {"gpu": None},
        "running",
    )
    assert (trial.params, trial.seed, trial.origin, trial.state) == (
        {"batch_size": 32, "model.name": "ü\0"},
        7,
        "warm_start",
        "running",
    )
    assert record.created.utcoffset() is not None and trial.started >= record.created


def test_metrics_that_are_no_numbers_survive(store: Store) -> None:
    """NaN and infinities come back as they went in."""
    study(store)
    store.add_point("s", 0, 1, {"val_loss": math.nan, "a": math.inf, "b": -math.inf, "c": 0.1})
    metrics = dict(store.points("s")[0].metrics)
    assert math.isnan(metrics.pop("val_loss")) and metrics == {"a": math.inf, "b": -math.inf, "c": 0.1}


def test_the_first_point_of_an_epoch_wins(store: Store) -> None:
    """A repeated epoch after a resume changes nothing and says so."""
    study(store)
    assert store.add_point("s", 0, 1, {"accuracy": 0.5}, checkpoint="one")
    assert not store.add_point("s", 0, 1, {"accuracy": 0.9}, checkpoint="two")
    assert [(p.epoch, p.metrics, p.checkpoint) for p in store.points("s")] == [(1, {"accuracy": 0.5}, "one")]
    assert store.deliveries.count("s") == 3  # study, trial, point: nothing for the second


def test_two_threads_that_report_the_same_epochs_store_each_once(store: Store) -> None:
    """Uniqueness holds under races, without an error to either."""
    study(store)
    new: list[bool] = []

    def report() -> None:
        new.extend(store.add_point("s", 0, epoch, {"accuracy": 0.1}) for epoch in range(1, 26))

    threads = [threading.Thread(target=report) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(new), sum(new), len(store.points("s"))) == (50, 25, 25)


def test_points_come_in_the_order_of_their_commits(store: Store) -> None:
    """`after_id` gives what came later."""
    study(store, trials=2)
    for trial, epoch in ((1, 1), (0, 1), (1, 2)):
        store.add_point("s", trial, epoch, {"accuracy": 0.1})
    points = store.points("s")
    assert [(p.trial, p.epoch) for p in points] == [(1, 1), (0, 1), (1, 2)]
    assert store.points("s", after_id=points[0].id) == points[1:]


def test_a_point_needs_its_trial(store: Store) -> None:
    """A point of a trial that doesn't exist is refused, and nothing of it stays."""
    study(store)
    with pytest.raises(StoreError):
        store.add_point("s", 5, 1, {"accuracy": 0.1})
    assert store.points("s") == [] and store.deliveries.count("s") == 2


def test_the_last_named_checkpoint_counts(store: Store) -> None:
    """Points without a checkpoint leave the earlier one standing."""
    study(store)
    assert store.checkpoint("s", 0) is None
    for epoch, path in ((1, "one"), (2, "two"), (3, None)):
        store.add_point("s", 0, epoch, {}, checkpoint=path)
    assert store.checkpoint("s", 0) == "two"


def test_the_first_end_of_a_trial_wins_until_it_is_resumed(store: Store) -> None:
    """A second end changes nothing; a resumed trial runs again, with one attempt more."""
    study(store)
    assert store.end_trial("s", 0, TrialState.FAILED, "NaN \udc80 loss\0")
    assert not store.end_trial("s", 0, TrialState.COMPLETE)
    ended = store.trials("s")[0]
    assert (ended.state, ended.reason) == ("failed", r"NaN \x80 loss\x00") and ended.ended is not None
    store.resume_trial("s", 0)
    resumed = store.trials("s")[0]
    assert (resumed.state, resumed.reason, resumed.ended, resumed.attempts) == ("running", None, None, 2)
    assert [t.number for t in store.trials("s", state=TrialState.RUNNING)] == [0]
    assert store.trials("s", state=TrialState.COMPLETE) == []


def test_a_trial_number_is_given_once(store: Store) -> None:
    study(store)
    with pytest.raises(StudyError, match="trial 0 exists already"):
        store.add_trial("s", 0, {}, seed=1)


def test_a_study_changes_only_where_asked(store: Store) -> None:
    """Each keyword changes its own column; time spent searching is no news to MLflow."""
    study(store)
    before = store.deliveries.count("s")
    store.update_study("s", searched_s=12.5)
    assert store.deliveries.count("s") == before
    store.update_study("s", state=StudyState.FINISHED, reference={"accuracy": 0.0})
    record = store.study("s")
    assert record is not None and store.deliveries.count("s") == before + 1
    assert (record.state, record.reference, record.searched_s) == ("finished", {"accuracy": 0.0}, 12.5)
    assert record.spec == {"a": [1, {"low": 0.1}]}


def test_names_are_unique_and_unknown_ones_are_refused_with_the_nearest(store: Store) -> None:
    study(store, name="fashion")
    with pytest.raises(StudyError, match="'fashion': exists already"):
        store.create_study("fashion", {}, info={})
    assert store.study("fashoin") is None
    with pytest.raises(StudyError, match=r"'fashoin': does not exist.*did you mean 'fashion'"):
        store.points("fashoin")


def test_deleting_a_study_leaves_the_others(store: Store) -> None:
    """Trials, points, changes and leases go with their study alone."""
    for name in ("s", "other"):
        study(store, name=name).add_point(name, 0, 1, {"accuracy": 0.1})
    store.delete_study("s")
    assert [s.name for s in store.studies()] == ["other"] and len(store.points("other")) == 1
    study(store)
    assert store.points("s") == [] and store.deliveries.count("s") == 2


def test_changes_are_delivered_in_order_and_once(store: Store, tmp_path: Path) -> None:
    """The log holds what was committed, in that order, until it is marked as delivered."""
    study(store).add_point("s", 0, 1, {"accuracy": 0.1})
    store.deliveries.add_artifact("s", tmp_path / "r.html", "report.html")
    changes = store.deliveries.waiting("s")
    assert [(c.kind, c.trial, c.epoch, c.name) for c in changes] == [
        ("study", None, None, None),
        ("trial", 0, None, None),
        ("point", 0, 1, None),
        ("artifact", None, None, "report.html"),
    ]
    store.deliveries.acknowledge("s", [c.id for c in changes[:3]])
    store.end_trial("s", 0, TrialState.COMPLETE)
    assert [c.kind for c in store.deliveries.waiting("s")] == ["artifact", "trial"]
    assert store.deliveries.waiting("s", limit=1)[0].id > changes[2].id
    assert store.deliveries.artifacts("s") == {"report.html": str(tmp_path / "r.html")}


def test_redelivery_queues_everything_again(store: Store, tmp_path: Path) -> None:
    """For another server: run ids are forgotten; study, trials, points and artifacts are delivered anew."""
    study(store, trials=2).add_point("s", 1, 1, {"accuracy": 0.1})
    store.deliveries.add_artifact("s", tmp_path / "r", "r")
    store.deliveries.set_run_id("s", None, "p", "e", "server")
    store.deliveries.set_run_id("s", 1, "r", "e", "server")
    store.deliveries.acknowledge("s", [c.id for c in store.deliveries.waiting("s")])
    store.deliveries.queue_all("s")
    undelivered = [(c.kind, c.trial, c.epoch, c.name) for c in store.deliveries.waiting("s")]
    assert undelivered == [
        ("study", None, None, None),
        ("trial", 0, None, None),
        ("trial", 1, None, None),
        ("point", 1, 1, None),
        ("artifact", None, None, "r"),
    ]
    record = store.study("s")
    assert record is not None and record.run_id is None and store.trials("s")[1].run_id is None


def test_one_search_per_study(store: Store) -> None:
    """A second search on a study is refused with who holds it; afterwards it may."""
    study(store, name="s")
    study(store, name="other")
    second = Store(store.url)
    with store.lease("s"):
        with pytest.raises(StudyError, match=r"'s': is being searched already, by process \d+ on .* since .* UTC"):
            second.lease("s").__enter__()
        with second.lease("other"), second.lease("s", role="outbox"):
            pass
        with pytest.raises(StudyError, match="being searched"):
            second.delete_study("s")
    with second.lease("s"):
        pass


def test_a_lease_is_renewed_while_its_owner_lives(store: Store) -> None:
    """Its thread puts the expiry off again and again."""
    study(store)

    def expires_ms() -> int:
        with store._database.read() as connection:
            return int(connection.scalar(select(leases.c.expires_ms)) or 0)

    with store.lease("s", ttl_s=0.3) as lease:
        seen = {expires_ms()}
        while len(seen) < 4 and not lease.lost:
            seen.add(expires_ms())
        assert not lease.lost
    assert expires_ms() == 0


def test_a_search_that_lost_its_lease_writes_nothing_more(store: Store) -> None:
    """One that slept past its lease can't write into its successor's study."""
    study(store)
    asleep = Store(store.url)
    held = asleep.lease("s", ttl_s=0.001)
    lease = held.__enter__()
    lease._ended.set()  # no more renewals: the process is suspended
    threading.Event().wait(0.05)
    with store.lease("s"):
        with pytest.raises(StudyError, match="is being searched already"):
            asleep.add_point("s", 0, 1, {"accuracy": 0.1})
        assert store.add_point("s", 0, 1, {"accuracy": 0.2})
        held.__exit__(None, None, None)
        store.end_trial("s", 0, TrialState.COMPLETE)  # the loser's release took nothing from us
