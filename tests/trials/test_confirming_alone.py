"""Runs that confirm, on Ray: which process trains which, and what becomes of those that are lost or fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conductors import LOOP

from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.rows import TrialRecord
from tune_cnn.spec import parse_spec
from tune_cnn.study.confirming import SoloTrainer
from tune_cnn.study.places import Places

NOW = datetime.now(UTC)
OWN = {"unit": "1", "direction": "min"}
SPEC = parse_spec(
    {
        "study": "s",
        "data": {"name": "digits"},
        "model": {"name": "small_cnn"},
        "training": "loops:SleepingLoop",
        "metrics": {"pid": OWN, "begun": OWN},
        "objectives": ["pid", "begun"],
        "space": {"epochs": 3, "training.seconds": 0.01, "training.fault": ["", "die", "memory"]},
        "resources": {"gpus_per_rank": 0, "cpus_per_trial": 1},
        "budget": {"trials": 3},
    }
)


def trial(number: int, **training: Any) -> TrialRecord:
    params = {"epochs": 3, **{f"training.{name}": value for name, value in training.items()}}
    return TrialRecord(
        number=number, params=params, seed=number, origin="search", state="complete", reason=None, started=NOW,
        ended=NOW, attempts=1, extra={"gpu_share": 0.0},
    )  # fmt: skip


def run(trial: int, number: int = 0) -> SeedRun:
    return SeedRun(trial=trial, epoch=2, number=number, seed=number)


@contextmanager
def trainer(home: Path, *trials: TrialRecord, stopping: bool = False, told: list[str] | None = None) -> Iterator[Any]:
    places = Places(home=home, tracking_uri="", loop=LOOP)
    known = {t.number: t for t in trials}
    say = (told if told is not None else []).append
    with SoloTrainer(SPEC, places, known, stopping=lambda: stopping, say=say) as made:
        yield made


def test_each_run_of_a_candidate_has_a_process_of_its_own(one_ray: None, tmp_path: Path) -> None:
    """As `train` has; the candidates of one seed share a warm one. All stop at their epoch, with the test split's."""
    with trainer(tmp_path, trial(0), trial(1)) as confirming:
        ended = {(t, n): confirming.train(run(t, n)) for n in (0, 1) for t in (0, 1)}
    assert {one.state for one in ended.values()} == {"complete"}
    pids = {key: one.metrics["pid"] for key, one in ended.items()}
    assert pids[0, 0] == pids[1, 0] != pids[0, 1] == pids[1, 1]
    assert all(one.metrics["test_accuracy"] == 0.5 and one.metrics["cotenants"] == 0 for one in ended.values())


def test_a_lost_process_is_no_fault_of_the_run(one_ray: None, tmp_path: Path) -> None:
    """It is trained in another; what loses every process, or needs too much memory, has failed, and says why."""
    told: list[str] = []
    once = trial(0, fault="die once", marker=str(tmp_path / "marker"))
    with trainer(tmp_path, once, trial(1, fault="die"), trial(2, fault="memory"), told=told) as confirming:
        assert confirming.train(run(0)).state == "complete"
        assert "once more, from the last checkpoint" in told[0]
        lost, heavy = confirming.train(run(1)), confirming.train(run(2))
    assert (lost.state, heavy.state) == ("failed", "infeasible")
    assert "process was lost" in lost.reason
    assert "asked for too much" in heavy.reason
    assert lost.metrics == heavy.metrics == {}


def test_a_run_that_is_interrupted_has_not_ended(one_ray: None, tmp_path: Path) -> None:
    """It stays planned, and goes on from its checkpoint."""
    with trainer(tmp_path, trial(0), stopping=True) as confirming:
        assert confirming.train(run(0)) is None
