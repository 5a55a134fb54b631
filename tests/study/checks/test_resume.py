"""A study that goes on: on the same images alone, and with a word where the machine is another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.confirming.made_up_confirming import SPEC_OF, Training, confirm
from study.made_up import make_study, session_of, spec_with
from tune_cnn import Study
from tune_cnn.errors import ResourceError, StudyError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.states import TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.checks.resume import check_confirmable, keep_machine, search_on
from tune_cnn.study.confirming.plan import plan, settings

INSPECTED: dict[str, Any] = {
    "data": {"key": "k" * 64},
    "hardware": {"cpu": "some", "slots": 2, "gpus_per_rank": 0.0},
    "versions": {"torch": "0"},
}
ELSEWHERE = {**INSPECTED, "hardware": {**INSPECTED["hardware"], "cpu": "other"}, "versions": {"torch": "1"}}
OTHER_IMAGES = {**INSPECTED, "data": {"key": "o" * 64}}


def _ended_on(home: Path, info: dict[str, Any]) -> Callable[[SeedRun], None]:
    def keep(run: SeedRun) -> None:
        store = Store(home)
        keep_machine(session_of(store, SPEC_OF), run, info)
        store.close()

    return keep


def test_a_search_goes_on_with_the_same_images_alone(home: Path) -> None:
    """Also where only points are left to confirm; nothing was held against others while no trial has begun."""
    store = Store(home)
    said: list[str] = []
    assert search_on(session_of(store, SPEC_OF, report=said.append), INSPECTED) == INSPECTED
    assert said == []
    with pytest.raises(StudyError, match="not those that it was searched on"):
        search_on(session_of(store, SPEC_OF), OTHER_IMAGES)
    make_study(home, "young", points=False)
    assert search_on(session_of(store, spec_with(study="young")), OTHER_IMAGES) == OTHER_IMAGES
    store.close()


def test_another_machine_is_said(home: Path) -> None:
    """What is not as in the search; its slots are its own."""
    store = Store(home)
    said: list[str] = []
    search_on(session_of(store, SPEC_OF, report=said.append), ELSEWHERE)
    assert said == [
        "not as it was searched: cpu: some then, other here",
        "not as it was searched: torch: 0 then, 1 here",
    ]
    store.close()


def test_a_promise_names_the_machine_that_it_was_measured_on(home: Path) -> None:
    """Each point's own, once a run of it has ended there; neither a search that goes on nor a mere start changes it."""
    confirm(home, Training(), points=1, seeds=1, ended_here=_ended_on(home, INSPECTED))
    confirm(home, Training(), points=2, seeds=1, ended_here=_ended_on(home, ELSEWHERE))
    store = Store(home)
    store.update_study("made-up", info=search_on(session_of(store, SPEC_OF), INSPECTED))
    front = Study("made-up", home=home).front()
    machines = {front.export(one.point).origin["hardware"]["cpu"] for one in front.confirmed}
    assert len(front.confirmed) == 2
    assert machines == {"some", "other"}
    (searched,) = (p for p in front.points if (p.trial, p.epoch) not in {one.key for one in front.confirmed})
    assert front.export(searched).origin["hardware"] == {"cpu": "some"}
    said: list[str] = []
    store.confirmations.plan("made-up", plan(read_archive("made-up", home, None), SPEC_OF, settings(SPEC_OF, 2, 2)))
    check_confirmable(session_of(store, SPEC_OF, report=said.append), SPEC_OF, INSPECTED)
    store.close()
    assert len(said) == 2
    assert "was trained with its earlier seeds: cpu: other then, some here" in said[0]


def test_nothing_is_confirmed_where_its_precision_is_lacking(tmp_path: Path) -> None:
    """Its runs would fail, and what has failed once is not tried again."""
    both = {"space": {"epochs": 2, "batch_size": 64, "learning_rate": 0.1, "precision": ["fp32", "bf16"]}}
    make_study(tmp_path, **both)
    spec, poor = spec_with(**both), spec_with(space={**both["space"], "precision": "fp32"})
    store = Store(tmp_path)
    with store.lease("made-up"):
        store.add_trial("made-up", 3, {"precision": "bf16"}, seed=3, extra={"gpu_share": 0.0})
        store.add_point("made-up", 3, 1, {"accuracy": 0.99, "train_time_s": 0.1, "peak_memory_mib": 1.0})
        store.end_trial("made-up", 3, TrialState.COMPLETE)
    store.confirmations.plan("made-up", plan(read_archive("made-up", tmp_path, None), spec, settings(spec, 4, 1)))
    check_confirmable(session_of(store, spec), spec, INSPECTED)
    with pytest.raises(ResourceError, match="trial 3 was searched with precision bf16"):
        check_confirmable(session_of(store, spec), poor, INSPECTED)
    store.close()
