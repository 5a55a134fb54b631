"""Nothing is lost and nothing doubled, whatever happens between the outbox and MLflow's own server."""

import random
from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient
from records.outbox.delivered import FIRST, SECOND, all_delivered, runs
from records.outbox.proxy import CUT, FAIL, LOSE_REPLY, PAGE, REFUSE, Fate, Proxy, proxy_to
from records.outbox.served import Served

from tune_cnn.records.outbox.handle import REFUSED, TAKEN
from tune_cnn.records.outbox.process import LONGEST_BACKOFF_S, Orders, Settings, run
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState

CREATE = "POST /api/2.0/mlflow/runs/create"
LOG_BATCH = "POST /api/2.0/mlflow/runs/log-batch"


@pytest.fixture
def proxy(served: Served) -> Iterator[Proxy]:
    with proxy_to(served.port) as proxy:
        yield proxy


class OwnTime(Orders):
    """A search whose time passes only while the outbox waits; `meanwhile` hears what time it is. It ends at
    `finish_s`, with a day for what is left."""

    def __init__(self, meanwhile: Callable[[float], object] = lambda now_s: None, *, finish_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.orphaned = self.is_alone = False
        self.deadline_s = None
        self._meanwhile = meanwhile
        self._finish_s = finish_s

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.001)
        self._meanwhile(self.now_s)
        if self.deadline_s is None and self.now_s >= self._finish_s:
            self.deadline_s = self.now_s + 86_400.0


def some(share: float, fate: Fate, *, of: str = "") -> Callable[[str], Fate]:
    """A share of the requests whose text holds `of`, by chance, meets this fate."""
    chance = random.Random(0)
    return lambda request: fate if of in request and chance.random() < share else "pass"


@pytest.mark.parametrize(
    "fate",
    [
        some(0.3, CUT),
        some(0.3, FAIL),
        some(0.3, LOSE_REPLY),
        some(0.3, PAGE),
        some(0.5, LOSE_REPLY, of="create"),
        some(0.5, LOSE_REPLY, of=LOG_BATCH),
        some(1, 0.05),
    ],
    ids=["cut", "500", "reply lost", "another page", "create's reply lost", "log-batch's reply lost", "slow"],
)
def test_what_happens_to_requests_costs_time_alone(
    store: Store, name: str, served: Served, proxy: Proxy, fate: Callable[[str], Fate]
) -> None:
    """Requests that fail now and then, before or after the server has done what they ask."""
    proxy.fate = fate
    store.update_study(name, state=StudyState.FINISHED)
    run(Settings(store=store.url, study=name, tracking_uri=proxy.uri), OwnTime(finish_s=5.0))
    assert len(proxy.met) > 1 or "delay" in proxy.met, "nothing happened to any request"
    assert store.deliveries.state(name) == (0, None)
    all_delivered(store, name, served.uri)


@pytest.mark.parametrize("outage_s", [20.0, 60.0, 600.0])
def test_after_an_outage_the_backlog_is_gone_within_a_minute(
    store: Store, name: str, served: Served, proxy: Proxy, outage_s: float
) -> None:
    """On the outbox's own clock: the search goes on meanwhile, the outbox asks now and then, and catches up at once."""
    went_s, back_s = 10.0, 10.0 + outage_s
    committed_s: list[float] = []
    empty_s: list[float] = []

    def meanwhile(now_s: float) -> None:
        proxy.fate = some(float(went_s <= now_s < back_s), CUT)
        if now_s >= back_s and not store.deliveries.count(name):
            empty_s.append(now_s)
        elif now_s < back_s and now_s >= 3 * len(committed_s):
            committed_s.append(now_s)
            point = {"accuracy": 0.5, "train_time_s": now_s, "val_loss": 1.0, "odd:é!": 2.0}
            store.add_point(name, 1, 3 + len(committed_s), point)

    run(Settings(store=store.url, study=name, tracking_uri=proxy.uri), OwnTime(meanwhile, finish_s=back_s + 70.0))
    assert empty_s and empty_s[0] <= back_s + 60.0
    assert outage_s / LONGEST_BACKOFF_S - 1 <= proxy.met[CUT] <= outage_s / LONGEST_BACKOFF_S + 12
    all_delivered(store, name, served.uri)


def test_a_wrong_password_is_said_and_not_tried_for_ever(store: Store, name: str, proxy: Proxy) -> None:
    """Three tries, so that nobody's account is locked; the search's end ends the outbox."""
    asked: list[str] = []

    def refused(request: str) -> Fate:
        asked.append(request)
        return REFUSE

    proxy.fate = refused
    assert run(Settings(store=store.url, study=name, tracking_uri=proxy.uri), OwnTime(finish_s=3_600.0)) == REFUSED
    assert len(asked) == 3
    assert "doesn't let us in" in str(store.deliveries.state(name)[1])


def test_what_is_deleted_in_the_middle_comes_back(store: Store, name: str, served: Served) -> None:
    """A run, then the experiment, deleted by somebody while the search goes on: restored, nothing lost or doubled."""
    client, done = MlflowClient(served.uri), []

    def meanwhile(now_s: float) -> None:
        if store.deliveries.count(name) or len(done) == 2 or now_s < 5 * (len(done) + 1):
            return
        run = runs(served.uri, name)[SECOND]
        if done:
            client.delete_experiment(run.info.experiment_id)
        else:
            client.delete_run(run.info.run_id)
        done.append(now_s)
        store.add_point(
            name, 1, 3 + len(done), {"accuracy": 0.6, "train_time_s": now_s, "val_loss": 1.0, "odd:é!": 2.0}
        )

    run(Settings(store=store.url, study=name, tracking_uri=served.uri), OwnTime(meanwhile, finish_s=60.0))
    assert len(done) == 2 and store.deliveries.state(name) == (0, None)
    all_delivered(store, name, served.uri)
    assert set(runs(served.uri, name)) == {name, FIRST, SECOND}  # active ones


def test_a_name_that_is_taken_ends_the_outbox_at_once(store: Store, name: str, served: Served) -> None:
    """So that the search can end too: exit code 2 with what is there. `sync` says the same."""
    MlflowClient(served.uri).create_experiment(name)
    assert run(Settings(store=store.url, study=name, tracking_uri=served.uri), OwnTime(finish_s=3_600.0)) == TAKEN
    said = store.deliveries.state(name)[1]
    assert said is not None and f"the experiment '{name}'" in said and "search under another name" in said


def test_a_sync_after_a_machine_died_leaves_no_run_running(store: Store, name: str, served: Served) -> None:
    """Search and outbox were killed at once: the store says running, nobody holds the study."""
    settings = Settings(store=store.url, study=name, tracking_uri=served.uri)
    with store.lease(name):
        run(settings, OwnTime())
        assert {r.info.status for r in runs(served.uri, name).values()} == {"RUNNING", "FINISHED"}
    run(Settings(store=store.url, study=name, tracking_uri=served.uri, alone=True), OwnTime())
    assert {r.info.status for r in runs(served.uri, name).values()} == {"KILLED", "FINISHED"}
