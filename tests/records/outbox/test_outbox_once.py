"""Each thing stands in MLflow once, whatever was sent before and then forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from records.outbox.delivered import ALL, FIRST, SECOND, SPEC, all_delivered, runs, send

from tune_cnn.records.mlflow.client import Refused, Unreachable
from tune_cnn.records.mlflow.reader import read_study
from tune_cnn.records.outbox import delivery
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState, TrialState


def test_sending_everything_again_doubles_nothing(store: Store, name: str, tracking: str) -> None:
    """Runs are found by their tags, metrics are the same rows, whatever batches they come in."""
    send(store, name, tracking)
    first = runs(tracking, name, view=ALL)
    store.deliveries.queue_all(name)
    send(store, name, tracking)
    second = runs(tracking, name, view=ALL)
    assert {n: r.info.run_id for n, r in first.items()} == {n: r.info.run_id for n, r in second.items()}
    client = MlflowClient(tracking)
    for key in ("accuracy", "odd_é_"):
        assert len(client.get_metric_history(first[FIRST].info.run_id, key)) == 3
    growth = client.get_metric_history(first[name].info.run_id, "hypervolume")
    assert len(growth) == len({m.step for m in growth})


def test_postgresql_holds_the_same_and_nothing_twice(store: Store, name: str, postgres_url: str) -> None:
    """NaN, infinities and long parameters included."""
    send(store, name, postgres_url)
    store.deliveries.queue_all(name)
    send(store, name, postgres_url)
    all_delivered(store, name, postgres_url)


def test_another_connection_asks_for_no_status_that_stands(
    store: Store, name: str, tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of ten thousand trials would take minutes at each resume and each end."""
    store.end_trial(name, 1, TrialState.STOPPED)
    store.update_study(name, state=StudyState.FINISHED)
    send(store, name, tracking)
    asked: list[str] = []
    monkeypatch.setattr(MlflowClient, "set_terminated", lambda self, run_id, **how: asked.append(run_id))
    send(store, name, tracking)
    store.update_study(name, state=StudyState.FINISHED)
    send(store, name, tracking)
    assert asked == []


def test_what_a_slow_server_has_taken_is_marked_while_it_takes_the_rest(
    store: Store, name: str, tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` gives up where nothing moves for a minute, so it must see what does."""
    monkeypatch.setattr(delivery, "MARKED_AFTER", 1)
    waiting = [store.deliveries.count(name)]
    create: Callable[..., Any] = MlflowClient.create_run

    def create_and_look(*args: Any, **kwargs: Any) -> Any:
        waiting.append(store.deliveries.count(name))
        return create(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", create_and_look)
    send(store, name, tracking)
    assert waiting[0] == waiting[2] > waiting[3] > 0  # before, at the first trial's run, at the second's


def test_a_lost_reply_doubles_no_run(store: Store, name: str, tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server made the run and nobody acknowledged it: the next connection finds it."""
    create: Callable[..., Any] = MlflowClient.create_run

    def create_and_lose_the_reply(*args: Any, **kwargs: Any) -> None:
        create(*args, **kwargs)
        raise ConnectionError("reply lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", create_and_lose_the_reply)
        for _ in range(2):  # the parent's, then the first trial's
            with pytest.raises(Unreachable, match="reply lost"):
                send(store, name, tracking)
    send(store, name, tracking, retried=True)
    assert set(runs(tracking, name, view=ALL)) == {name, FIRST, SECOND}


def test_a_run_that_came_late_after_all_is_removed(store: Store, name: str, tracking: str) -> None:
    """A server that commits a request after we had given it up: one run stays, the one with the data."""
    delivery = send(store, name, tracking, retried=True)
    run = runs(tracking, name)[FIRST]
    client = MlflowClient(tracking)
    client.create_run(run.info.experiment_id, tags=run.data.tags, run_name=FIRST)
    store.update_study(name, state=StudyState.FINISHED)
    delivery.deliver()
    delivery.settle(ended=True)
    assert runs(tracking, name)[FIRST].info.run_id == run.info.run_id


def test_deleted_runs_and_experiments_come_back(store: Store, name: str, tracking: str) -> None:
    """What was deleted on the server by mistake is restored, not made a second time."""
    send(store, name, tracking)
    run, client = runs(tracking, name)[SECOND], MlflowClient(tracking)
    client.delete_run(run.info.run_id)
    store.end_trial(name, 1, TrialState.STOPPED)
    send(store, name, tracking)
    assert runs(tracking, name)[SECOND].info.run_id == run.info.run_id
    client.delete_experiment(run.info.experiment_id)
    store.update_study(name, state=StudyState.FINISHED)
    send(store, name, tracking)
    assert runs(tracking, name, view=ALL)[SECOND].info.run_id == run.info.run_id
    assert runs(tracking, name)[SECOND].info.status == "FINISHED"


def test_everything_is_delivered_to_another_server(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """Runs that the first one had are unknown to the second: the whole study is delivered there."""
    send(store, name, tracking)
    second = f"sqlite:///{tmp_path}/second.db"
    send(store, name, second)
    found = runs(second, name)
    assert set(found) == {name, FIRST, SECOND} and "accuracy" in found[SECOND].data.metrics
    assert len(read_study(name, second).points) == 6


def test_what_is_not_ours_is_refused_untouched(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """An experiment of this name that is no study, or another study's."""
    client = MlflowClient(tracking)
    client.create_experiment(name)
    with pytest.raises(Refused, match=f"the experiment '{name}' .* holds something else than a study of ours"):
        send(store, name, tracking)
    second = f"sqlite:///{tmp_path}/second.db"
    send(store, name, second)
    other = Store(tmp_path / "other")
    other.create_study(name, {**SPEC, "study": name}, info={})
    with pytest.raises(Refused, match="holds another study of this name"):
        send(other, name, second)
    assert runs(tracking, name) == {} and len(runs(second, name)) == 3 and store.deliveries.count(name) == 0
