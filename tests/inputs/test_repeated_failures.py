"""Failures that repeat: a search pauses over them and says so; what was mended is tried again; values that are lost
are named beside what went well."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from study.commands import environment, run, run_json
from study.made_up import session_of

from tune_cnn.errors import DIVERGED
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.states import TrialState
from tune_cnn.study.searching.course import _only_failed
from tune_cnn.study.searching.startup import reopen_failed
from tune_cnn.study.session.failures import ALIKE_AT_START, ALIKE_LATER, AlikeFailures, failures, is_paused, may_go_well

COMPLETE, FAILED, INFEASIBLE = TrialState.COMPLETE, TrialState.FAILED, TrialState.INFEASIBLE
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def trial(number: int, state: TrialState, reason: str | None = None, **params: Any) -> TrialRecord:
    ended = BEGAN + timedelta(seconds=number)
    return TrialRecord(
        number=number, params=params, seed=0, origin="sampler", state=state, reason=reason, started=BEGAN,
        ended=ended, attempts=1,
    )  # fmt: skip


def paused_after(ends: Sequence[tuple[TrialState, str | None]], *, went_well: bool = False) -> int | None:
    """The number of ends after which the search pauses."""
    row = AlikeFailures(went_well=went_well)
    for number, (state, reason) in enumerate(ends, start=1):
        row.end(state, reason)
        if row.pausing:
            return number
    return None


BROKEN = (FAILED, "data 'own:data': train[3] raised OSError: no such file /data/3.png")
ENDS = [
    ([BROKEN] * 20, ALIKE_AT_START),
    ([(COMPLETE, None), *[BROKEN] * 20], 1 + ALIKE_LATER),
    ([(INFEASIBLE, "out of memory")] * 60, None),
    ([(FAILED, f"train_loss became nan in epoch {n}: {DIVERGED}") for n in range(60)], None),
    ([BROKEN, BROKEN, (COMPLETE, None)] * 20, None),
    ([BROKEN, (FAILED, "ValueError: other")] * 30, 9),
    ([BROKEN, BROKEN, (INFEASIBLE, "out of memory")] * 20, 7),
    ([(COMPLETE, None), *[BROKEN, (FAILED, "ValueError: other")] * 30], None),
    ([(COMPLETE, None), *[BROKEN, BROKEN, (INFEASIBLE, "out of memory")] * 20], 15),
]


@pytest.mark.parametrize(("ends", "number"), ENDS)
def test_a_search_pauses_once_trials_fail_alike(ends, number):
    """Few until one goes well, then more in a row; never for memory or divergence, which the search learns from."""
    assert paused_after(ends) == number


def test_a_resumed_search_in_which_some_went_well_is_patient():
    assert paused_after([BROKEN] * 20, went_well=True) == ALIKE_LATER


ALIKE = [
    ("batch 3 of 17 failed", "batch 4 of 9 failed", True),
    ("no such file /data/a/3.png", "no such file /data/b/4.png", True),
    ("object at 0x7f01 is odd", "object at 0x55aa is odd", True),
    ("KeyError: 'a'", "KeyError: 'b'", False),
]


@pytest.mark.parametrize(("some", "other", "are"), ALIKE)
def test_numbers_addresses_and_paths_make_no_other_reason(some, other, are):
    row = AlikeFailures()
    for reason in (some, other):
        row.end(FAILED, reason)
    assert len(row.reasons) == (2 if are else 1)


def spec_of(**space: Any) -> StudySpec:
    return parse_spec(
        {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "space": space}
        | {"budget": {"trials": 9}}
    )


def test_what_failed_beside_what_went_well_is_counted_and_lost_values_are_named():
    spec = spec_of(loader=["device", "stream"], batch_size=[8, 16, 32], learning_rate={"low": 0.1, "high": 1.0})
    trials = [
        trial(0, COMPLETE, loader="device", batch_size=8, learning_rate=0.2),
        trial(1, FAILED, "worker 1 died", loader="stream", batch_size=8, learning_rate=0.2),
        trial(2, FAILED, "worker 2 died", loader="stream", batch_size=16, learning_rate=0.2),
        trial(3, INFEASIBLE, "out of memory", loader="device", batch_size=32, learning_rate=0.3),
        trial(4, COMPLETE, loader="device", batch_size=16, learning_rate=0.4),
    ]
    assert failures(trials, spec) == [
        "3 of 5 trials failed:",
        "  2 × worker 1 died",
        "  1 × out of memory",
        "  all 2 trials with loader=stream failed",
    ]
    assert failures([trials[0], trials[4]], spec) == []


def test_what_may_be_tried_again():
    assert may_go_well(trial(0, *BROKEN))
    assert not may_go_well(trial(0, FAILED, f"train_loss became nan: {DIVERGED}"))
    assert not may_go_well(trial(0, INFEASIBLE, "out of memory"))
    rows = [trial(number, *BROKEN) for number in range(ALIKE_AT_START)]
    assert is_paused(rows) and not is_paused(rows[1:]) and not is_paused([*rows, trial(9, COMPLETE)])


def test_a_paused_search_takes_a_mended_spec_though_a_trial_is_unfinished(tmp_path):
    """With two slots one was running as the fifth failed. What the new space lacks ends; the rest comes again."""
    store = Store(tmp_path)
    broken = spec_of(batch_size=[8, 16], loader="stream")
    store.create_study("s", broken.model_dump(), info={"code": "as it was"})
    for number in range(6):
        store.add_trial("s", number, {"batch_size": 8 if number else 16}, seed=number)
        if number < ALIKE_AT_START:
            store.end_trial("s", number, *BROKEN)
    mended = spec_of(batch_size=[16, 32], loader="batched")
    assert _only_failed(store, "s")
    told: list[str] = []
    known = store.study("s")
    assert known is not None
    reopen_failed(session_of(store, mended, tmp_path, told.append), known)
    states = [trial.state for trial in store.trials("s")]
    assert states == [TrialState.RUNNING, *[FAILED] * 5]
    assert told == ["tried again, as they failed before: trials 0"]
    store.add_point("s", 0, 1, {"accuracy": 0.5})
    assert not _only_failed(store, "s")
    store.close()


OWN = """\
from torch import nn

def net(num_classes, in_channels, image_size, width=4):
    return Net(num_classes, in_channels)

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * in_channels, num_classes))

    def forward(self, images):
        if len(images) > 2:{broken}
            pass
        return self.layers(images)
"""
SPEC = """\
study: own
data: {name: digits}
model: {name: "own:net"}
space: {epochs: 1, batch_size: [64, 128], learning_rate: {low: 0.01, high: 0.1}}
resources: {slots: 1}
budget: {trials: 7}
"""


def test_the_same_command_tries_again_what_a_mended_program_may_train(tmp_path: Path) -> None:
    """The model passes the check of two images and fails in every batch: five trials, not seven, and what to do."""
    (tmp_path / "own.py").write_text(OWN.format(broken="\n            raise RuntimeError('a fault of mine')"))
    (tmp_path / "own.yaml").write_text(SPEC)
    first = run(tmp_path, "search", "own.yaml", code=1)
    assert "is paused, as 5 trials failed alike: " in first.stderr
    assert "a fault of mine" in first.stderr and "search own.yaml" in first.stderr
    assert run_json(tmp_path, "status", "own")["trials"]["failed"] == ALIKE_AT_START
    (tmp_path / "own.py").write_text(OWN.format(broken=""))
    again = run(tmp_path, "search", "own.yaml")
    assert "tried again, as they failed before: trials 0, 1, 2, 3, 4" in again.stderr
    status = run_json(tmp_path, "status", "own")
    assert status["trials"]["complete"] + status["trials"]["stopped"] == 7 and status["failures"] == []


def test_what_failed_is_not_tried_again_by_code_that_is_as_it_was(tmp_path: Path) -> None:
    """A finished search stays finished, whichever way the command is started: the user's module is found in both."""
    (tmp_path / "own.py").write_text(OWN.format(broken="\n            raise RuntimeError('a fault of mine')"))
    (tmp_path / "own.yaml").write_text(SPEC.replace("trials: 7", "trials: 1"))
    run(tmp_path, "search", "own.yaml", code=1)
    command = [str(Path(sys.executable).with_name("tune-cnn")), "search", "own.yaml"]
    again = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300, check=False
    )
    assert "tried again" not in again.stderr and "the budget is spent" in again.stderr
