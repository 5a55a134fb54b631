"""The process that feeds MLflow while a search runs: `python -m tune_cnn.records.outbox.process`, settings on stdin."""

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TextIO

from tune_cnn.errors import SpecError, StoreError, StudyError, TuneCnnError
from tune_cnn.records.lease import Lease
from tune_cnn.records.mlflow.client import Foreign, NotMlflow, Refused, Server
from tune_cnn.records.outbox.delivery import Delivery
from tune_cnn.records.outbox.handle import REFUSED, TAKEN
from tune_cnn.records.outbox.others import Others
from tune_cnn.records.store import Store
from tune_cnn.untyped import Plain

POLL_S = 1.0
LONGEST_BACKOFF_S = 15.0  # a server that is back is noticed within this time
REFUSALS = 3  # a proxy may refuse once by mistake; a wrong password stays wrong
LEAST_ALONE_S = 60.0  # an outbox whose search has died ends the study's runs in any case
log = logging.getLogger("tune_cnn.outbox")


@dataclass(frozen=True, kw_only=True)
class Settings:
    store: str
    study: str
    tracking_uri: str
    alone: bool = False  # for `sync`: beside no search, so what stands as running was killed
    alone_s: float = 0.0  # for which it goes on when its search has ended
    retried: bool = False  # in the place of one that was lost, perhaps with a request under way


class Orders:
    """What the search orders through stdin: to finish within some seconds, to go on alone, or, by its end, that it has
    died."""

    def __init__(self, stdin: TextIO, *, alone_s: float = 0.0) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # which a signal's handler may put into
        self._parent = os.getppid()
        self._alone_s = max(alone_s, LEAST_ALONE_S)
        self.orphaned = False
        self.is_alone = False  # it goes on by itself: beside no search
        self.deadline_s: float | None = None  # on the clock; None: as long as the search runs
        threading.Thread(target=self._read, args=(stdin,), daemon=True).start()

    def clock(self) -> float:
        """The outbox's own time, in seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until an order comes, at most so long."""
        try:
            line = self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            if os.getppid() == self._parent or self.is_alone:
                return
            line = ""
        if line and (finish_s := json.loads(line).get("finish_s")) is not None:
            self.deadline_s = self.clock() + float(finish_s)
        elif not self.is_alone:
            self.orphaned = not line and self.deadline_s is None
            self.is_alone, self.deadline_s = True, self.clock() + self._alone_s

    def end(self) -> None:
        """Somebody else is to go on; may be called in a signal's handler."""
        self._lines.put(json.dumps({"finish_s": 0.0}))

    @property
    def left_s(self) -> float:
        return 0.0 if self.deadline_s is None else max(0.0, self.deadline_s - self.clock())

    @property
    def finishing(self) -> bool:
        return self.deadline_s is not None

    @property
    def late(self) -> bool:
        return self.deadline_s is not None and self.clock() >= self.deadline_s

    def _read(self, stdin: TextIO) -> None:
        for line in stdin:
            self._lines.put(line)
        self._lines.put("")


class Trouble:
    """How often in a row it failed: whether to try again, and when."""

    def __init__(self, *, ever: bool = False) -> None:
        self._failures = 0
        self._refusals = 0
        self.ever = ever  # requests of a connection that failed may yet be under way
        self._ever_delivered = False

    def over(self) -> None:
        """The server took something."""
        self._failures = self._refusals = 0
        self._ever_delivered = True

    def met(self, error: TuneCnnError) -> None:
        self.ever = True
        self._failures += 1
        # What was MLflow before will be it again: a page that a proxy shows while the server is away.
        passing = isinstance(error, NotMlflow) and self._ever_delivered
        if isinstance(error, Refused | SpecError) and not passing:
            self._refusals += 1

    @property
    def hopeless(self) -> bool:
        return self._refusals >= REFUSALS

    @property
    def backoff_s(self) -> float:
        return min(LONGEST_BACKOFF_S, 2.0 ** min(max(self._failures - 1, 0), 10))


def run(settings: Settings, orders: Orders) -> int:
    """Deliver until asked to finish, patiently; returns when nothing waits, or time is up: the exit code."""
    store = Store(settings.store)
    trouble, others = Trouble(ever=settings.retried), Others(store, settings.study)
    while not orders.late:
        try:
            if others.end():  # before the hold of one that has only run out: it may wake up
                pause(orders, 0.2)
                continue
            with store.lease(settings.study, role="outbox") as lease:
                deliver_patiently(store, settings, orders, trouble, lease)
            return 0
        except StoreError as error:  # can't be written into the store either
            trouble.met(error)
            log.error("%s", error)
        except StudyError as error:  # another outbox is at it, whose search died, or a `sync`: ours comes after it
            trouble.met(error)
            log.warning("%s", error)
            if store.study(settings.study) is None:
                return 0
        except Foreign as error:  # the search ends at once: all that it trains would reach nobody
            report(store, settings.study, str(error))
            return TAKEN
        except TuneCnnError as error:
            trouble.met(error)
            report(store, settings.study, str(error))
        if trouble.hopeless:
            wait_for_the_end(orders)
            return REFUSED
        pause(orders, trouble.backoff_s)
    return 0


def deliver_patiently(store: Store, settings: Settings, orders: Orders, trouble: Trouble, lease: Lease) -> None:
    """The same as `deliver`, which raises what the server does; beside no search, the lease is kept meanwhile."""
    while True:
        try:
            return deliver(store, settings, orders, trouble, lease)
        except (StoreError, StudyError, Foreign):
            raise
        except TuneCnnError as error:
            if not orders.is_alone:
                raise  # a `sync` may try meanwhile
            trouble.met(error)
            report(store, settings.study, str(error))
        lease.go_on_alone(orders.left_s)
        if trouble.hopeless or orders.late:
            return None
        pause(orders, trouble.backoff_s)


def deliver(store: Store, settings: Settings, orders: Orders, trouble: Trouble, lease: Lease) -> None:
    """Over one connection, until asked to finish and done; raises where the server fails."""

    def orphaned() -> bool:
        return orders.orphaned or (settings.alone and not store.in_work(settings.study))

    server = Server(settings.tracking_uri)
    delivery = Delivery(store, settings.study, server, orphaned=orphaned(), retried=trouble.ever, clock=orders.clock)
    error_stands, is_said = True, False
    while not orders.late:
        lease.ensure()  # it may have slept until another one took over
        if orders.is_alone and not is_said:
            lease.go_on_alone(orders.left_s)
            is_said = True
        try:
            count = delivery.deliver()
        finally:
            if delivery.moved:  # a server that fails now and then is slow, not away
                trouble.over()
        trouble.over()
        if error_stands:
            store.deliveries.set_error(settings.study, None)
            error_stands = False
        if count:
            log.info("delivered %d changes", count)
            orders.wait(0.0)
            continue
        if orders.finishing:
            delivery.orphaned = orphaned()
            delivery.settle(ended=True)
            if not store.deliveries.count(settings.study):
                return
            continue
        delivery.settle(ended=False)
        orders.wait(POLL_S)


def report(store: Store, study: str, error: str) -> None:
    """For the live display and `status`, and for the log."""
    log.warning("%s", error)
    try:
        store.deliveries.set_error(study, error)
    except TuneCnnError as second:
        log.error("%s", second)


def pause(orders: Orders, seconds: float) -> None:
    """Before the next try; an order to finish cuts it short, once: then it is tried at once."""
    until_s = orders.clock() + seconds
    was_finishing = orders.finishing
    while orders.clock() < until_s and not orders.late and orders.finishing == was_finishing:
        orders.wait(min(POLL_S, until_s - orders.clock()))


def wait_for_the_end(orders: Orders) -> None:
    while not orders.finishing:
        orders.wait(POLL_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    first: dict[str, Plain] = json.loads(sys.stdin.readline() or "{}")
    if not first:
        return  # the search died before it wrote what to do
    settings = Settings(**first)
    orders = Orders(sys.stdin, alone_s=settings.alone_s)
    signal.signal(signal.SIGTERM, lambda *_: orders.end())
    code = run(settings, orders)
    logging.shutdown()
    os._exit(code)  # what imported libraries do as they end takes seconds at this priority, and the search waits


if __name__ == "__main__":
    main()
