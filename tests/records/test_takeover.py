"""A search goes on from another machine when the one that it ran on is gone, and never beside one that lives."""

import os
import threading
from dataclasses import asdict, replace
from functools import partial

import pytest
from sqlalchemy import select, update

from tune_cnn.errors import StoreError, StudyError
from tune_cnn.owner import this_process
from tune_cnn.records.rows import to_json
from tune_cnn.records.store import Store
from tune_cnn.records.tables import leases, studies


def on_another_machine(store: Store, *, expires_s: float) -> None:
    """Whoever holds the study does so on a machine that can't be seen from here, for so long from now."""
    owner = to_json(asdict(replace(this_process(), machine="another|boot|pid:[1]")))
    with store._database.write() as connection:
        expires_ms = store._database.now_ms(connection) + round(expires_s * 1000)
        connection.execute(update(leases).values(owner=owner, expires_ms=expires_ms))


def test_the_hold_of_a_machine_that_is_gone_runs_out(store: Store) -> None:
    """Who comes next says what it waits for, and has the study then; who doesn't wait is refused."""
    store.create_study("s", {}, info={})
    second, told = Store(store.url), []

    def waiting(text: str) -> None:
        told.append(text)
        on_another_machine(store, expires_s=-1)  # a minute later

    with store.lease("s") as lost:
        on_another_machine(store, expires_s=60)
        with pytest.raises(StudyError, match="being searched already"):
            second.lease("s").__enter__()
        with second.lease("s", waiting=waiting), pytest.raises(StudyError, match="being searched already"):
            lost.renew()
    second.close()
    assert len(told) == 1
    assert f"by process {os.getpid()} on " in told[0] and "waiting until its hold ends" in told[0]


def test_a_hold_that_is_renewed_on_another_machine_is_waited_for_no_longer(store: Store) -> None:
    """Its owner lives, and the message says who that is."""
    store.create_study("s", {}, info={})
    second = Store(store.url)
    with store.lease("s"):
        on_another_machine(store, expires_s=60)
        renew = partial(on_another_machine, store, expires_s=90)
        with pytest.raises(StudyError, match=rf"being searched already, by process {os.getpid()} on "):
            second.lease("s", waiting=lambda text: renew()).__enter__()
    second.close()


def test_what_a_lost_machine_has_locked_in_postgresql_is_free_again(postgres_url: str) -> None:
    """It may be lost in the middle of a transaction, and its server hears of that from nobody: a minute is let pass."""
    lost, second = Store(postgres_url), Store(postgres_url)
    for left in lost.studies():
        lost.delete_study(left.name)
    lost.create_study("s", {}, info={})
    held = threading.Event()

    def hold() -> None:
        with second.lease("s"):
            held.set()

    holding = threading.Thread(target=hold)
    with pytest.raises(StoreError), lost._database.write() as connection:
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "1min"
        connection.execute(select(studies.c.id).with_for_update())
        connection.exec_driver_sql("SET idle_in_transaction_session_timeout = '1s'")  # a shorter minute
        holding.start()
        assert held.wait(60), "it waits for a lock of a machine that is gone"
    holding.join()
    for store in (lost, second):
        store.close()
