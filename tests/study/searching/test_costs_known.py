"""What a study knows of costs, and a search that has nothing left to train."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from study.made_up import SPEC, Command, make_study, session_of, spec_with
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.costs import KnownCost
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.search.search import Search
from tune_cnn.spec.costs import Cost
from tune_cnn.states import TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.checks.preflight import checked_with
from tune_cnn.study.machine import machine_of, of_phase
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.costs import keep_costs, of_trials, place_of, setup_of
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.study.searching.hooks import raise_failure
from tune_cnn.study.searching.startup import teach_costs
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.messages import Inspection, LoadersFound
from tune_cnn.trials.cluster.machines import Slots

INFO: dict[str, Any] = {
    "data": {"key": "k", "train_images": 640, "validation_images": 64, "image_size": [8, 8]},
    "hardware": {"cpu": "some", "slots": 2, "gpus_per_rank": 0.0},
    "versions": {"torch": "0"},
}


INSPECTION = Inspection(
    data=DataFacts(
        name="digits", num_classes=10, in_channels=1, image_size=(8, 8), train_images=640, validation_images=64,
        test_images=64, classes=(), key="k", mean=(0.0,), std=(1.0,), notes=(),
    ),
    model=None, strategies={}, precisions=frozenset({"fp32"}), loaders=LoadersFound(), shared_memory_bytes=None,
    hardware={"cpu": "some"}, versions={"torch": "0"},
)  # fmt: skip
TWO_SLOTS = Slots(count=2, bundles=({"CPU": 1.0},), gpu_share=0.0, slots_per_gpu=1)
GROWING = {"batch_size": 64, "strategies.net2net": True, "strategies.net2net.grow_at": 0.9}


def ended(
    number: int, state: TrialState = TrialState.COMPLETE, reason: str | None = None, **params: Any
) -> TrialRecord:
    moment = datetime.now(UTC)
    return TrialRecord(
        number=number, params=params, seed=0, origin="sampler", state=state, reason=reason, started=moment,
        ended=moment, attempts=1,
    )  # fmt: skip


def point(trial: int, epoch: int, **metrics: float) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=epoch, metrics=metrics)


def test_trials_that_cost_the_same_tell_one_cost() -> None:
    """The median of their seconds a step, by the last epoch of each, and the most memory that any took."""
    trials = [ended(n, batch_size=64, learning_rate=0.1 * (n + 1)) for n in range(3)]
    points = [
        point(0, 1, train_time_s=99.0, eval_time_s=9.0, peak_memory_mib=5.0),
        point(0, 2, train_time_s=2.0, eval_time_s=1.0, peak_memory_mib=5.0),
        point(1, 2, train_time_s=4.0, eval_time_s=1.0, peak_memory_mib=7.0),
        point(2, 1, train_time_s=30.0, eval_time_s=1.0, peak_memory_mib=6.0),
    ]
    (known,) = of_trials(spec_with(), trials, points, train_images=640)
    assert known.cost.steps_per_epoch == 10
    assert known.cost.step_time_s == pytest.approx(0.2)
    assert known.cost.eval_time_s == pytest.approx(0.5)
    assert known.cost.peak_memory_mib == 7.0
    assert known.reason is None


def test_a_trial_out_of_memory_tells_that_it_does_not_fit() -> None:
    trials = [
        ended(0, TrialState.INFEASIBLE, "out of memory: asked for 2 GiB", batch_size=128),
        ended(1, TrialState.FAILED),
    ]
    (known,) = of_trials(spec_with(), trials, [], train_images=640)
    assert known.reason == "out of memory: asked for 2 GiB"
    assert known.cost.step_time_s is None


def test_one_trial_out_of_memory_among_many_that_fitted_was_chance() -> None:
    """Beside whom it ran decides that; where as many fitted as failed, it doesn't fit."""
    trials = [ended(n, batch_size=64) for n in range(3)]
    points = [point(n, 1, train_time_s=1.0) for n in range(3)]
    for failed, fits in ((1, True), (2, True), (3, False)):
        lost = [ended(3 + n, TrialState.INFEASIBLE, "out of memory", batch_size=64) for n in range(failed)]
        (known,) = of_trials(spec_with(), [*trials, *lost], points, train_images=640)
        assert (known.reason is None) is fits
        assert known.cost.step_time_s == pytest.approx(0.1)


def test_a_stopped_trial_says_nothing_of_a_net_that_was_to_grow() -> None:
    """Its strategies may have changed the net later; without strategies its epochs all cost the same."""
    trials = [
        ended(n, state, **GROWING)
        for n, state in enumerate([TrialState.STOPPED, TrialState.COMPLETE, TrialState.RUNNING])
    ]
    points = [point(n, 1, train_time_s=1.0 + n, peak_memory_mib=10.0) for n in range(3)]
    (known,) = of_trials(spec_with(), trials, points, train_images=640)
    assert known.cost.step_time_s == pytest.approx(0.2)
    (known,) = of_trials(spec_with(), [ended(0, TrialState.STOPPED, batch_size=64)], points, train_images=640)
    assert known.cost.step_time_s == pytest.approx(0.1)


@pytest.mark.parametrize("change", [{"data": {"name": "digits", "subset": 500}}, {"model": {"name": "lenet5"}},
    {"resources": {"cpus_per_trial": 2}}])  # fmt: skip
def test_a_cost_holds_for_its_own_model_and_resources_alone(change: Mapping[str, Any]) -> None:
    """The data are told apart by what was found of them: another subset has another number of images."""
    other = {**INFO, "data": {**INFO["data"], "train_images": 500}} if "data" in change else INFO
    assert setup_of(spec_with(**change), other) != setup_of(spec_with(), INFO)
    assert setup_of(spec_with(budget={"trials": 9}, seed=4), INFO) == setup_of(spec_with(), INFO)


@pytest.mark.parametrize(
    "other", [{"code": "edited"}, {"versions": {"torch": "0", "tune-cnn": "2"}}, {"versions": {"torch": "1"}}]
)
def test_a_cost_holds_for_its_own_code_and_releases_alone(other: Mapping[str, Any]) -> None:
    """Another release of ours may have other defaults, of which a configuration says nothing."""
    there = {**INFO, "code": "as it was", **other}
    assert setup_of(spec_with(), there) != setup_of(spec_with(), {**INFO, "code": "as it was"})
    assert place_of(there) != place_of({**INFO, "code": "as it was"})


def test_what_user_code_cost_is_forgotten_when_it_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the code is made of what the check before a search is asked with."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "net_that_is_edited.py").write_text("def make(**shape): ...\n")
    spec = spec_with(model={"name": "net_that_is_edited:make"})
    before = checked_with(spec, TWO_SLOTS, INSPECTION).info
    assert setup_of(spec, checked_with(spec, TWO_SLOTS, INSPECTION).info) == setup_of(spec, before)
    (tmp_path / "net_that_is_edited.py").write_text("def make(**shape): return None\n")
    assert setup_of(spec, checked_with(spec, TWO_SLOTS, INSPECTION).info) != setup_of(spec, before)


def test_a_studys_costs_are_kept_by_its_slots(tmp_path: Path) -> None:
    """Trials that shared the machine with three others cost what they cost beside three others."""
    make_study(tmp_path)
    store = Store(tmp_path)
    _train(store, INFO, train_time_s=1.0)
    keep_costs(store, spec_with(), read_archive("made-up", tmp_path, None))
    (known,) = store.costs.known(setup_of(spec_with(), INFO, slots=4, gpus_per_rank=0.0)).values()
    assert known.cost.step_time_s == pytest.approx(1.0 / 5)
    assert not store.costs.known(setup_of(spec_with(), INFO, slots=3, gpus_per_rank=0.0))
    store.close()


def test_what_a_resumed_trial_cost_is_not_kept(tmp_path: Path) -> None:
    """It may have trained elsewhere in between."""
    make_study(tmp_path)
    store = Store(tmp_path)
    _train(store, INFO, train_time_s=1.0)
    (number,) = (trial.number for trial in store.trials("made-up") if "place" in trial.extra)
    store.resume_trial("made-up", number)
    store.end_trial("made-up", number, TrialState.COMPLETE)
    keep_costs(store, spec_with(), read_archive("made-up", tmp_path, None))
    assert not store.costs.known(setup_of(spec_with(), INFO, slots=4, gpus_per_rank=0.0))
    store.close()


def test_what_a_study_cost_on_another_machine_is_not_kept_for_this_one(tmp_path: Path) -> None:
    """A resume overwrites where the study runs, and its earlier trials ran elsewhere; three tell nothing of it."""
    make_study(tmp_path)
    store = Store(tmp_path)
    _train(store, {**INFO, "hardware": {**INFO["hardware"], "cpu": "slow"}}, train_time_s=50.0)
    _train(store, INFO, train_time_s=1.0)
    keep_costs(store, spec_with(), read_archive("made-up", tmp_path, None))
    (known,) = store.costs.known(setup_of(spec_with(), INFO, slots=4, gpus_per_rank=0.0)).values()
    assert known.cost.step_time_s == pytest.approx(1.0 / 5)
    store.close()


def _train(store: Store, info: Mapping[str, Any], *, train_time_s: float, slots: int = 4) -> None:
    """A search that starts where `info` tells of, and trains one trial of one epoch there."""
    spec = spec_with(budget={"trials": 9}, space={**SPEC["space"], "epochs": 1, "batch_size": 128})
    store.update_study(spec.study, info=info)
    nothing: list[object] = []
    session = session_of(store, spec)
    driver = SearchDriver(session, Search(spec), slots=slots, show=nothing.append, forget=nothing.append)
    driver.begin_phase(0.0, slots, end=PhaseEnd())
    trial = driver.next()
    assert trial is not None
    driver.point(trial.trial, 1, {"accuracy": 0.5, "train_time_s": train_time_s}, None)
    driver.end(trial.trial, TrialState.COMPLETE, None)
    raise_failure(driver.failure)


def test_a_search_knows_what_was_measured_before_it(tmp_path: Path) -> None:
    """By a dry run or another study: of all configurations that cost the same, whatever their learning rate."""
    spec = spec_with(space={**SPEC["space"], "optimizer": "adamw"})
    measured = {"epochs": 2, "batch_size": 64, "learning_rate": 0.3, "optimizer": "adamw"}
    store = Store(tmp_path)
    store.costs.keep(setup_of(spec, INFO), [KnownCost(params=measured, cost=Cost(step_time_s=0.5, steps_per_epoch=10))])
    search = Search(spec)
    params = {**search.ask(0), "batch_size": 64}
    assert search.epoch_time_s(params) is None
    teach_costs(search, store, setup_of(spec, INFO, slots=TWO_SLOTS.count, gpus_per_rank=TWO_SLOTS.gpu_share))
    assert search.epoch_time_s(params) == pytest.approx(5.0)
    assert search.epoch_time_s({**params, "batch_size": 128}) is None
    elsewhere = Search(spec)
    another = {**INFO, "hardware": {**INFO["hardware"], "cpu": "another"}}
    teach_costs(elsewhere, store, setup_of(spec, another, slots=TWO_SLOTS.count, gpus_per_rank=TWO_SLOTS.gpu_share))
    assert elsewhere.epoch_time_s(params) is None
    store.close()


def test_costs_at_another_power_limit_are_others(tmp_path: Path) -> None:
    """They are found again at theirs alone; the machine is the same one."""
    spec, held = spec_with(), {**INFO, "hardware": {**INFO["hardware"], **of_phase(2, 1.0, 200.0)}}
    store = Store(tmp_path)
    known = KnownCost(
        params={"epochs": 2, "batch_size": 64, "learning_rate": 0.3}, cost=Cost(step_time_s=0.5, steps_per_epoch=10)
    )
    store.costs.keep(setup_of(spec, held), [known])
    found = {w: len(store.costs.known(setup_of(spec, held, **of_phase(2, 1.0, w)))) for w in (200.0, 250.0)}
    assert found == {200.0: 1, 250.0: 0}
    assert machine_of(held) == machine_of(INFO)
    store.close()


def test_a_spent_budget_starts_nothing(command: Command, home: Path, tmp_path: Path) -> None:
    """The search says so and gives its result again; it looks for no hardware: nobody listens at this address."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_with().model_dump_json())
    said = command("search", str(spec), "--home", str(home), "--address", "127.0.0.1:1", "--json")
    assert said.code == 0, said.err
    assert "the budget is spent" in said.err
    assert said.document["trials"]["complete"] == 3
    assert said.document["state"] == "finished"
