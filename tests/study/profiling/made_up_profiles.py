"""Profiles in a store without a measurement."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.profiling.answer import CELL
from tune_cnn.study.profiling.question import BLOCK, RANKS

SPEC: dict[str, Any] = {
    "study": "made-up-profile",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"batch_size": [32, 128], "loader": ["device", "batched"], "loader_workers": [0, 1, 2]},
    "resources": {"cpus_per_trial": 4},
    "budget": {"trials": 1},
}
STEP = {
    "step_time_ms": 10.0,
    "data_wait_pct": 1.0,
    "cpu_util_pct": 200.0,
    "peak_memory_mib": 500.0,
    "ceiling_images_per_s": 1000.0,
    "loader_images_per_s": 9000.0,
    "fixed_pct": 10.0,
}
SLOW = {"loader_images_per_s": 310.0, "data_wait_pct": 60.0}


def cell(params: Mapping[str, Any], speeds: Sequence[float], *, ranks: int = 1, **metrics: float) -> dict[str, Any]:
    """A cell with the images a second of its repeats; none of them where it ran out of memory."""
    return {"params": dict(params), RANKS: ranks, "speeds": list(speeds), "metrics": {**STEP, **metrics}}


def feed(batch: int, workers: int | None) -> dict[str, Any]:
    """workers: None for the device loader."""
    if workers is None:
        return {"batch_size": batch, "loader": "device"}
    return {"batch_size": batch, "loader": "batched", "loader_workers": workers}


CELLS = [
    cell(feed(32, None), [950.0, 960.0, 940.0]),
    cell(feed(32, 0), [300.0, 300.0, 306.0], **SLOW),
    cell(feed(32, 1), [945.0, 955.0, 935.0]),
    cell(feed(128, None), [900.0, 900.0, 900.0]),
    cell(feed(128, 1), [980.0, 985.0, 975.0]),
    cell(feed(128, 2), [990.0, 990.0, 990.0]),
]
FULL = cell({**feed(128, 2), "batch_size": 128}, [])


def make_profile(home: Path, cells: Sequence[Mapping[str, Any]] = CELLS) -> StudySpec:
    """A finished profile; of a cell without speeds memory was not enough."""
    store, spec = Store(home), parse_spec(SPEC)
    settled = {"in_all": 10, "cells": [{"params": one["params"], RANKS: one[RANKS], "known": {}} for one in cells]}
    question = {"kind": "profile", "asked": {"ranks": None, "minutes": None}, "settled": settled, "again": "the same"}
    info = {"data": {"notes": []}, "hardware": {"cpu": "some"}, "versions": {"torch": "0"}, "question": question}
    try:
        store.create_study(spec.study, spec.model_dump(), info=info)
        number = 0
        for at, one in enumerate(cells):
            for block, speed in enumerate(one["speeds"] or [None]):
                extra = {CELL: at, RANKS: one[RANKS], BLOCK: block, "run": f"cell {at} repeat {block + 1}"}
                store.add_trial(spec.study, number, one["params"], seed=0, origin="profile", extra=extra)
                if speed is None:
                    store.end_trial(spec.study, number, TrialState.INFEASIBLE, "out of memory: 3 GiB more")
                else:
                    store.add_point(spec.study, number, 1, {**one["metrics"], "images_per_s": speed})
                    store.end_trial(spec.study, number, TrialState.COMPLETE)
                number += 1
        store.update_study(spec.study, state=StudyState.FINISHED)
    finally:
        store.close()
    return spec
