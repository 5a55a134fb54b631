"""A study by types of accelerator: which its trials ran on, what it is on one of them, what is predicted for others."""

from collections.abc import Mapping
from dataclasses import replace

from tune_cnn.errors import InputError
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.states import RunState
from tune_cnn.study.machine import ACCELERATOR, on_type
from tune_cnn.untyped import Plain

TRANSFERRED = "transferred"  # in a study's info: what `transfer` predicts, by the type


def type_of(archive: StudyArchive) -> Mapping[int, str | None]:
    """Of each trial; None: a CPU trained it, or types were not recorded yet."""
    return {trial.number: trial.extra.get(ACCELERATOR) for trial in archive.trials}


def searched_types(archive: StudyArchive) -> list[str]:
    """Those that its trials ran on, in the order of the trials."""
    return [name for name in dict.fromkeys(type_of(archive).values()) if name is not None]


def on_type_alone(archive: StudyArchive, accelerator: str) -> StudyArchive:
    """The study as it would be with its trials on this type alone."""
    mine = {number for number, name in type_of(archive).items() if name == accelerator}
    return replace(
        archive,
        study=replace(archive.study, info=on_type(archive.study.info, accelerator)),
        trials=tuple(trial for trial in archive.trials if trial.number in mine),
        points=tuple(point for point in archive.points if point.trial in mine),
        confirmations=tuple(run for run in archive.confirmations if run.trial in mine),
    )


def as_there(archive: StudyArchive, accelerator: str) -> StudyArchive:
    """The study as it is known on a type that it was not searched on: what is predicted, and what was confirmed."""
    spec = parse_spec(archive.study.spec, f"the spec of study {archive.study.name!r}")
    before = {(point.trial, point.epoch): point for point in archive.points}
    predicted = predicted_on(archive, spec, accelerator)
    return replace(
        archive,
        study=replace(archive.study, reference=None),  # of times on another card
        trials=tuple(replace(t, extra={**t.extra, ACCELERATOR: accelerator}) for t in archive.trials),
        points=tuple(replace(before[p.trial, p.epoch], metrics=p.metrics, system={}) for p in predicted),
        confirmations=tuple(archive.elsewhere.get(accelerator, ())),
    )


def check_type(archive: StudyArchive, accelerator: str) -> None:
    """InputError where no trial ran on this type."""
    types = searched_types(archive)
    if accelerator not in types:
        has = f"its trials ran on {', '.join(types)}" if types else "its trials tell no type"
        raise InputError(f"--accelerator: study {archive.study.name!r} was not searched on {accelerator!r}; {has}")


def prediction_of(archive: StudyArchive, accelerator: str) -> Mapping[str, Plain] | None:
    """What `transfer` has stored for this type; None where it has not."""
    found: Mapping[str, Plain] | None = archive.study.info.get(TRANSFERRED, {}).get(accelerator)
    return found


def predicted_on(archive: StudyArchive, spec: StudySpec, accelerator: str) -> list[EpochPoint]:
    """The predicted front on a type, as points whose metrics are the predicted ones; none where there is none."""
    rows = (prediction_of(archive, accelerator) or {}).get("points", ())
    names = [m.name for m in spec.objective_metrics]
    found = [(row, {n: v for n in names if (v := _value(row, n)) is not None}) for row in rows if row["on_front"]]
    return [EpochPoint(trial=row["trial"], epoch=row["epoch"], metrics=m) for row, m in found if len(m) == len(names)]


def transfer_notes(archive: StudyArchive) -> list[str]:
    """A line on each type that the front was carried to."""
    notes = []
    for name, found in archive.study.info.get(TRANSFERRED, {}).items():
        count = sum(row["on_front"] for row in found["points"])
        confirmed = len({run.key for run in archive.elsewhere.get(name, ()) if run.state is RunState.COMPLETE})
        notes.append(
            f"predicted for {name} from {found['from']}: a front of {count} point{'s' * (count != 1)}, {confirmed} "
            f"confirmed there; `tune-cnn front {archive.study.name} --accelerator {name}` shows it"
        )
    return notes


def _value(row: Mapping[str, Plain], metric: str) -> float | None:
    of = row["accuracy"] if metric == "accuracy" else row["predicted"].get(metric) or row["carried"].get(metric)
    return None if of is None else of["value"]
