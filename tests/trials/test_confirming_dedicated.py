"""Runs that confirm, on Ray: which process trains which, and what becomes of those that are lost or fail."""

from pathlib import Path
from typing import Any

from scripted_drivers import LOOP

from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.spec import parse_spec
from tune_cnn.study.confirming.runs import DedicatedTrainer
from tune_cnn.study.locations import Locations
from tune_cnn.study.session.session import Session

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


def trial(**training: Any) -> dict[str, Any]:
    """A trial's parameters."""
    return {"epochs": 3, **{f"training.{name}": value for name, value in training.items()}}


def run(trial: int, number: int = 0) -> SeedRun:
    return SeedRun(trial=trial, epoch=2, number=number, seed=number)


def trainer(
    home: Path, *trials: dict[str, Any], stopping: bool = False, told: list[str] | None = None
) -> DedicatedTrainer:
    store = Store(home)
    store.create_study(SPEC.study, SPEC.model_dump(), info={})
    for number, params in enumerate(trials):
        store.add_trial(SPEC.study, number, params, seed=number, extra={"gpu_share": 0.0})
    locations = Locations(home=home, tracking_uri="", loop=LOOP)
    session = Session(store=store, spec=SPEC, locations=locations, report=(told if told is not None else []).append)
    made = DedicatedTrainer(session, stopping=lambda: stopping)
    store.close()
    return made


def trained(confirming: DedicatedTrainer, run: SeedRun) -> SeedRun:
    ended = confirming.train(run)
    assert ended is not None
    return ended


def test_each_run_has_a_process_of_its_own(one_ray: None, tmp_path: Path) -> None:
    """As `train` has. All stop at their epoch and are tested."""
    confirming = trainer(tmp_path, trial(), trial())
    ended = [trained(confirming, run(t, n)) for t, n in ((0, 0), (1, 0), (1, 1))]
    assert {one.state for one in ended} == {"complete"}
    assert len({one.metrics["pid"] for one in ended}) == 3
    assert all(one.metrics["test_accuracy"] == 0.5 and one.metrics["cotenants"] == 0 for one in ended)


def test_a_lost_process_is_no_fault_of_the_run(one_ray: None, tmp_path: Path) -> None:
    """It is trained in another; what loses every process, or needs too much memory, has failed, and says why."""
    told: list[str] = []
    once = trial(fault="die once", marker=str(tmp_path / "marker"))
    confirming = trainer(tmp_path, once, trial(fault="die"), trial(fault="memory"), told=told)
    assert trained(confirming, run(0)).state == "complete"
    assert "once more, from the last checkpoint" in told[0]
    lost, heavy = trained(confirming, run(1)), trained(confirming, run(2))
    assert (lost.state, heavy.state) == ("failed", "infeasible")
    assert "process was lost" in str(lost.reason)
    assert "asked for too much" in str(heavy.reason)
    assert lost.metrics == heavy.metrics == {}


def test_a_run_that_is_interrupted_has_not_ended(one_ray: None, tmp_path: Path) -> None:
    """It stays planned, and goes on from its checkpoint."""
    assert trainer(tmp_path, trial(), stopping=True).train(run(0)) is None
