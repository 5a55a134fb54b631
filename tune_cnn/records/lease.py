"""One search per study, and one outbox: a lease with an expiry, kept alive by a thread while its owner works."""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Row, delete, insert, select, update

from tune_cnn.errors import StoreError, StudyError
from tune_cnn.owner import Owner, this_process
from tune_cnn.records.database import Database
from tune_cnn.records.rows import from_json, from_ms, to_json
from tune_cnn.records.tables import leases, studies
from tune_cnn.untyped import Untyped

Role = Literal["search", "outbox"]
Tell = Callable[[str], object]  # hears a sentence for the user
_DOING: dict[str, str] = {"search": "being searched", "outbox": "being delivered to MLflow"}


ALONE = "alone_until_ms"  # beside a lease's owner
LOOK_S = 1.0  # between two looks at a lease whose owner may be gone with its machine


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has a lease, or had it last."""

    owner: Owner
    lives: bool  # False: it is dead, or its hold has run out
    until: datetime | None  # an outbox that goes on delivering after its search has ended, and until when


class Lease:
    """The right to do alone, for one study, what `role` says."""

    def __init__(self, database: Database, study_id: int, study: str, *, role: Role, ttl_s: float) -> None:
        self.study = study
        self.role = role
        self.token = uuid.uuid4().hex
        self._database = database
        self._study_id = study_id
        self._ttl_ms = round(ttl_s * 1000)
        self._ended = threading.Event()
        self._lost: StudyError | None = None
        self._thread = threading.Thread(target=self._keep, name=f"lease {study}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another process took over meanwhile (this one slept past the lease's expiry)."""
        return self._lost is not None

    def acquire(self, waiting: Tell | None = None) -> None:
        """StudyError where another process holds it.

        An owner on another machine may be gone together with that. `waiting` is told so, and then its hold runs out
        within the lease's seconds, or it is put off: its owner lives, and StudyError says so. Without `waiting` such an
        owner counts as one that lives.
        """
        seen: Row[Untyped] | None = None
        while (held := self._take()) is not None:
            lives = _owner(held).is_here or (seen is not None and _hold(held) != _hold(seen))
            if waiting is None or lives:
                raise StudyError(self._taken(held))
            if seen is None:
                waiting(self._awaited(held))
            seen = held
            time.sleep(LOOK_S)

    def _take(self) -> Row[Untyped] | None:
        """None where it is ours now, else what holds it."""
        with self._database.write() as connection:
            # On PostgreSQL two may ask at once: the study's row lets one in after the other.
            connection.execute(select(studies.c.id).where(studies.c.id == self._study_id).with_for_update())
            now_ms = self._database.now_ms(connection)
            held: Row[Untyped] | None = self._held(connection)
            if held is not None and self._lives(held, now_ms):
                return held
            connection.execute(delete(leases).where(self._mine))
            connection.execute(
                insert(leases).values(
                    study_id=self._study_id,
                    role=self.role,
                    token=self.token,
                    owner=to_json(asdict(this_process())),
                    since_ms=now_ms,
                    expires_ms=now_ms + self._ttl_ms,
                )
            )
        return None

    def is_held(self, connection: Connection) -> bool:
        """Whether anybody holds it at this moment; asked without a wish to have it."""
        held = self._held(connection)
        return held is not None and self._lives(held, self._database.now_ms(connection))

    def go_on_alone(self, seconds: float) -> None:
        """Say that its owner goes on by itself, beside no search and for so long at most: who comes next may end it."""
        with self._database.write() as connection:
            self.check(connection)
            until_ms = self._database.now_ms(connection) + round(seconds * 1000)
            owner = to_json({**asdict(this_process()), ALONE: until_ms})
            connection.execute(update(leases).where(self._mine).values(owner=owner))

    def holder(self, connection: Connection) -> Holder | None:
        """Who holds it, or held it and did not give it back."""
        held = self._held(connection)
        if held is None:
            return None
        until_ms = from_json(held.owner).get(ALONE)
        until = None if until_ms is None else from_ms(until_ms)
        return Holder(owner=_owner(held), lives=self._lives(held, self._database.now_ms(connection)), until=until)

    def ensure(self) -> None:
        """StudyError unless it is still ours: asked by who may have slept past its expiry."""
        with self._database.read() as connection:
            self.check(connection)

    def renew(self) -> None:
        """Put the expiry off. Raises StudyError where somebody else holds the lease now."""
        with self._database.write() as connection:
            self.check(connection)
            connection.execute(
                update(leases).where(self._mine).values(expires_ms=self._database.now_ms(connection) + self._ttl_ms)
            )

    def check(self, connection: Connection) -> None:
        """Raise StudyError unless the lease is still ours; called within each writing transaction."""
        held = self._held(connection)
        if held is None:
            raise StudyError(f"study {self.study!r}: was deleted, or its lease was taken away; this {self.role} ends")
        if held.token != self.token:
            raise StudyError(self._taken(held))

    def release(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        # Where the database is gone, what led here says so, and the lease runs out by itself.
        with suppress(StoreError), self._database.write() as connection:
            connection.execute(delete(leases).where(self._mine, leases.c.token == self.token))

    def keep(self) -> None:
        """Renew from now on in a thread, until `release`."""
        self._thread.start()

    def _keep(self) -> None:
        while not self._ended.wait(self._ttl_ms / 1000 / 3):
            try:
                self.renew()
            except StudyError as error:
                self._lost = error
                return
            except StoreError:  # the database may come back before the lease expires
                continue

    @property
    def _mine(self) -> Untyped:
        return (leases.c.study_id == self._study_id) & (leases.c.role == self.role)

    def _held(self, connection: Connection) -> Untyped:
        return connection.execute(select(leases).where(self._mine)).first()

    def _lives(self, row: Row[Untyped], now_ms: int) -> bool:
        return bool(row.expires_ms > now_ms) and not _owner(row).is_dead

    def _taken(self, row: Row[Untyped]) -> str:
        owner = _owner(row)
        return (
            f"study {self.study!r}: is {_DOING[self.role]} already, by process {owner.pid} on {owner.host} since "
            f"{from_ms(row.since_ms):%Y-%m-%d %H:%M:%S} UTC; wait for it, end it, or take another name (where that "
            f"process is gone, its hold ends by itself at {from_ms(row.expires_ms):%H:%M:%S} UTC)"
        )

    def _awaited(self, row: Row[Untyped]) -> str:
        owner = _owner(row)
        return (
            f"study {self.study!r}: is {_DOING[self.role]} by process {owner.pid} on {owner.host}, which may be gone "
            f"with its machine: waiting until its hold ends, at {from_ms(row.expires_ms):%H:%M:%S} UTC, or is renewed"
        )


def _owner(row: Row[Untyped]) -> Owner:
    return Owner(**{name: value for name, value in from_json(row.owner).items() if name != ALONE})


def _hold(row: Row[Untyped]) -> tuple[str, int]:
    """Another one once it was renewed, or given to somebody else."""
    return str(row.token), int(row.expires_ms)
