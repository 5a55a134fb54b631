"""What the store hands out: a study, its trials, its epoch points, and what MLflow has yet to be sent."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Row

from tune_cnn.front.confirmed import SeedRun
from tune_cnn.metrics import SYSTEM, EpochPoint
from tune_cnn.records.bulk import Unreadable, from_json_all, taken_out
from tune_cnn.states import RunState, StudyState, TrialState
from tune_cnn.text import printable
from tune_cnn.untyped import Plain, Untyped

ChangeKind = Literal["study", "trial", "point", "artifact", "confirmed"]


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    name: str
    uid: str  # of this study among others of its name
    spec: Mapping[str, Plain]
    info: Mapping[str, Plain]  # hardware, versions, facts about the data
    state: StudyState
    reference: Mapping[str, float] | None  # of the hypervolume, in the metrics' units
    searched_s: float  # spent searching so far, over all resumes
    created: datetime
    started: datetime  # of the last (re)start
    updated: datetime
    tracking: str | None = None  # MLflow's server that the ids belong to
    experiment_id: str | None = None
    run_id: str | None = None
    delivery_error: str | None = None  # why MLflow is not up to date, where it is not


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    number: int
    params: Mapping[str, Plain]  # flat, as searched
    seed: int
    origin: str  # who proposed it
    state: TrialState
    reason: str | None
    started: datetime
    ended: datetime | None
    attempts: int
    run_id: str | None = None
    extra: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PointRecord(EpochPoint):
    """An epoch point as committed."""

    id: int  # grows with each point of a study
    checkpoint: str | None
    reported_ms: int
    system: Mapping[str, float] = field(default_factory=dict)  # by node and GPU: for MLflow alone

    @property
    def reported(self) -> datetime:
        return from_ms(self.reported_ms)


@dataclass(frozen=True, kw_only=True)
class Change:
    id: int
    kind: ChangeKind
    trial: int | None = None
    epoch: int | None = None
    name: str | None = None  # of an artifact
    made_ms: int


@dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """What happened to a node of the cluster, or to a trial there."""

    at: datetime
    node: str  # Ray's id of it
    host: str
    happened: str  # a word of `trials.node_health.Happened`
    trial: int | None = None
    why: str | None = None
    ratio: float | None = None  # of an ended trial's time to what was expected


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a question measured beside a trial's epochs, as JSON has it."""

    trial: int
    epoch: int  # epochs trained when it was measured
    name: str
    content: Mapping[str, Plain]


LONGEST_TEXT = 20_000  # characters: what an error says may be the whole of a batch


def to_json(data: Mapping[str, Plain]) -> str:
    """JSON with Python's NaN and Infinity, which `from_json` reads again."""
    return json.dumps(dict(data), ensure_ascii=True, separators=(",", ":"))


def from_json(text: str) -> dict[str, Plain]:
    """Raises Unreadable, which the database's edge makes a StoreError."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise Unreadable(f"a row is no JSON: {error}") from None


def plain(text: str) -> str:
    """Text of strangers that every database takes and any terminal shows, in lines, and not without end."""
    shown = printable(text[:LONGEST_TEXT], keep="\n\t")
    return shown if len(text) <= LONGEST_TEXT else f"{shown}… ({len(text):,} characters)"


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


def from_ms(stamp_ms: int) -> datetime:
    return datetime.fromtimestamp(stamp_ms / 1000, tz=UTC)


def to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def study_of(row: Row[Untyped]) -> StudyRecord:
    return StudyRecord(
        name=row.name,
        uid=row.uid,
        spec=from_json(row.spec),
        info=from_json(row.info),
        state=StudyState(row.state),
        reference=None if row.reference is None else from_json(row.reference),
        searched_s=row.searched_s,
        created=from_ms(row.created_ms),
        started=from_ms(row.started_ms),
        updated=from_ms(row.updated_ms),
        tracking=row.tracking,
        experiment_id=row.experiment_id,
        run_id=row.run_id,
        delivery_error=row.delivery_error,
    )


def trial_of(row: Row[Untyped]) -> TrialRecord:
    return TrialRecord(
        number=row.number,
        params=from_json(row.params),
        seed=row.seed,
        origin=row.origin,
        state=TrialState(row.state),
        reason=row.reason,
        started=from_ms(row.started_ms),
        ended=None if row.ended_ms is None else from_ms(row.ended_ms),
        attempts=row.attempts,
        run_id=row.run_id,
        extra=from_json(row.extra),
    )


def points_of(rows: Sequence[Untyped]) -> list[PointRecord]:
    """Rows of trial, epoch, metrics, id, checkpoint, reported_ms. A hundred thousand of them take a second."""
    named = f'"{SYSTEM}'
    return [
        PointRecord(
            trial=trial,
            epoch=epoch,
            system=taken_out(metrics, SYSTEM) if named in text else {},
            metrics=metrics,
            id=key,
            checkpoint=checkpoint,
            reported_ms=stamp,
        )
        for (trial, epoch, text, key, checkpoint, stamp), metrics in zip(
            rows, from_json_all([row.metrics for row in rows]), strict=True
        )
    ]


def seed_run_of(row: Row[Untyped]) -> SeedRun:
    return SeedRun(
        trial=row.trial,
        epoch=row.epoch,
        number=row.number,
        seed=row.seed,
        state=RunState(row.state),
        reason=row.reason,
        metrics=from_json(row.metrics),
    )


def change_of(row: Row[Untyped]) -> Change:
    return Change(
        id=row.id,
        kind=row.kind,
        trial=row.trial,
        epoch=row.epoch,
        name=row.name,
        made_ms=row.made_ms,
    )
