"""points.json: a whole study in one file, which the parent run in MLflow holds and readers read first.

    {"format": "tune_cnn study", "version": 1,
     "study": {name, uid, spec, info, state, reference, searched_s, created, started, updated, experiment_id, run_id},
     "trials": [{number, params, seed, origin, state, reason, started, ended, attempts, run_id, extra}],
     "points": [{trial, epoch, reported, metrics: {name: number}}],
     "confirmations": [{trial, epoch, number, seed, state, reason, metrics: {name: number}}],
     "elsewhere": {accelerator: [as in confirmations, of runs on a type that the study was not searched on]},
     "nodes": [{at, node, host, happened, trial, why, ratio}],
     "measurements": [{trial, epoch, name, content}]}

`measurements` and `elsewhere` may lack: an older tune_cnn wrote none.

Times are ISO 8601 in UTC. Metrics that are no number are the strings "NaN", "Infinity" and "-Infinity", so that the
file is JSON to every reader.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from tune_cnn.errors import StudyError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.rows import Measurement, NodeRecord, PointRecord, StudyRecord, TrialRecord, to_ms
from tune_cnn.states import RunState, StudyState, TrialState
from tune_cnn.untyped import Plain

FORMAT = "tune_cnn study"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StudyArchive:
    """A study as it stood when it was written down."""

    study: StudyRecord
    trials: tuple[TrialRecord, ...]
    points: tuple[PointRecord, ...]
    confirmations: tuple[SeedRun, ...] = ()
    nodes: tuple[NodeRecord, ...] = ()  # what happened to them, in its order
    measurements: tuple[Measurement, ...] = ()  # of a question
    elsewhere: Mapping[str, tuple[SeedRun, ...]] = field(default_factory=dict)  # confirmations on types not searched on


def write_document(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    points: Sequence[PointRecord],
    confirmations: Sequence[SeedRun] = (),
    nodes: Sequence[NodeRecord] = (),
    measurements: Sequence[Measurement] = (),
    elsewhere: Mapping[str, Sequence[SeedRun]] | None = None,
) -> str:
    study_fields = ("name", "uid", "spec", "info", "state", "reference", "searched_s", "experiment_id", "run_id")
    trial_fields = ("number", "params", "seed", "origin", "state", "reason", "attempts", "run_id", "extra")
    times = {"created": study.created, "started": study.started, "updated": study.updated}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "study": {**_fields(study, study_fields), **{name: _iso(moment) for name, moment in times.items()}},
        "trials": [
            {**_fields(t, trial_fields), "started": _iso(t.started), "ended": _iso(t.ended) if t.ended else None}
            for t in trials
        ],
        "points": [
            {"trial": p.trial, "epoch": p.epoch, "reported": _iso(p.reported), "metrics": dict(p.metrics)}
            for p in points
        ],
        "confirmations": [asdict(run) for run in confirmations],
        "elsewhere": {name: [asdict(run) for run in runs] for name, runs in (elsewhere or {}).items()},
        "nodes": [{**asdict(event), "at": _iso(event.at)} for event in nodes],
        "measurements": [asdict(one) for one in measurements],
    }
    return json.dumps(_strict(document), separators=(",", ":"), allow_nan=False)


def read_document(text: str, where: str) -> StudyArchive:
    """The study in a points.json; StudyError where it is none, or a newer one than this version reads."""
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise ValueError(f"its format is {raw['format']!r}")
        if raw["version"] > VERSION:
            raise StudyError(f"{where}: was written by a newer tune_cnn (version {raw['version']}); update tune_cnn")
        study = {**raw["study"], "reference": raw["study"]["reference"] and _numbers(raw["study"]["reference"])}
        return StudyArchive(
            study=StudyRecord(
                **{**study, **_moments(study, "created", "started", "updated"), "state": StudyState(study["state"])}
            ),
            trials=tuple(
                TrialRecord(**{**t, **_moments(t, "started", "ended"), "state": TrialState(t["state"])})
                for t in raw["trials"]
            ),
            points=tuple(_point(number, p) for number, p in enumerate(raw["points"], start=1)),
            confirmations=tuple(_seed_run(r) for r in raw["confirmations"]),
            elsewhere={name: tuple(_seed_run(r) for r in runs) for name, runs in raw.get("elsewhere", {}).items()},
            nodes=tuple(NodeRecord(**{**n, **_moments(n, "at")}) for n in raw["nodes"]),
            measurements=tuple(Measurement(**one) for one in raw.get("measurements", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{where}: is not a study's points.json: {error!r}; sync the study again, from the home that holds it"
        ) from None


def _fields(record: object, names: Sequence[str]) -> dict[str, Plain]:
    return {name: getattr(record, name) for name in names}


def _point(number: int, raw: Mapping[str, Plain]) -> PointRecord:
    stamp_ms = to_ms(datetime.fromisoformat(raw["reported"]))
    metrics = _numbers(raw["metrics"])
    return PointRecord(
        trial=raw["trial"], epoch=raw["epoch"], metrics=metrics, id=number, checkpoint=None, reported_ms=stamp_ms
    )


def _seed_run(raw: Mapping[str, Plain]) -> SeedRun:
    return SeedRun(**{**raw, "state": RunState(raw["state"]), "metrics": _numbers(raw["metrics"])})


def _numbers(raw: Mapping[str, Plain]) -> dict[str, float]:
    return {name: float(value) for name, value in raw.items()}


def _moments(raw: Mapping[str, Plain], *names: str) -> dict[str, datetime | None]:
    return {name: datetime.fromisoformat(raw[name]) if raw[name] else None for name in names}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _strict(value: object) -> Plain:
    """The value with strings for the numbers that JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
