"""A study as it was recorded: from the home's store, or from a tracking server alone."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import StudyError, nearest
from tune_cnn.front.confirmed import Confirmed
from tune_cnn.front.constraints import feasible
from tune_cnn.front.dominance import front
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.front_history import confirmed_candidates
from tune_cnn.records.mlflow.environment import make_quiet
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.started import as_started
from tune_cnn.states import StudyState


def open_store(home: str | Path, *, create: bool = False) -> Store:
    """The home's store, or the database that TUNE_CNN_STORE names: a URL, which may hold a password, is no argument.

    StudyError where there is none and `create` is off, StoreError where it can't be opened.
    """
    return Store(os.environ.get("TUNE_CNN_STORE") or home, create=create)


def read_archive(name: str, home: str | Path, tracking_uri: str | None) -> StudyArchive:
    """The study's record, its trials and points. The store is asked first; MLflow where it doesn't know the study."""
    try:
        store = open_store(home)
    except StudyError:
        store = None
    if store is not None:
        try:
            record = store.study(name)
            if record is not None:
                return StudyArchive(
                    study=as_it_stands(store, record),
                    trials=tuple(store.trials(name)),
                    points=tuple(store.points(name)),
                    confirmations=tuple(store.confirmations.runs(name)),
                    nodes=tuple(store.nodes.of(name)),
                    measurements=tuple(store.measurements.of(name)),
                    elsewhere=store.confirmations.elsewhere(name),
                )
            known = [study.name for study in store.studies()]
        finally:
            store.close()
    else:
        known = []
    if tracking_uri is not None:
        with left_as_found():
            make_quiet(tracking_uri)
            from tune_cnn.records.mlflow.reader import read_study  # imports mlflow, which takes seconds

            try:
                return read_study(name, tracking_uri)
            except StudyError as error:
                there = nearest(name, known, f"MLflow was asked too: {error}")
                raise StudyError(f"study {name!r}: does not exist in {home}{there}") from None
    search = shlex.join([*as_started(), "search"])
    there = nearest(name, known) if known else f", which holds none yet; start one with `{search}`"
    raise StudyError(f"study {name!r}: does not exist in {home}{there}")


def as_it_stands(store: Store, record: StudyRecord) -> StudyRecord:
    """A search that was killed can't write that it ended: one that runs by its record and that nobody holds has."""
    if record.state is StudyState.RUNNING and not store.in_work(record.name):
        return replace(record, state=StudyState.INTERRUPTED)
    return record


def spec_of(archive: StudyArchive) -> StudySpec:
    return parse_spec(archive.study.spec, f"the spec of study {archive.study.name!r}")


def feasible_points(archive: StudyArchive, spec: StudySpec) -> list[EpochPoint]:
    """The points that meet the study's constraints."""
    return feasible(archive.points, spec.bounds)


def front_of(archive: StudyArchive, spec: StudySpec) -> list[EpochPoint]:
    return front(feasible_points(archive, spec), spec.objective_metrics)


def confirmed_of(archive: StudyArchive, spec: StudySpec) -> list[Confirmed]:
    """What is known of the points that were trained again."""
    return confirmed_candidates(archive.confirmations, spec, archive.study.info.get("data") or {})
