"""Each part of the hardware has costs, memory and trials of its own: a share of a GPU, its power, its type."""

import numpy as np
import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.hardware_share import time_ratio
from tune_cnn.search.search import Past, Search
from tune_cnn.spec.costs import Cost
from tune_cnn.states import TrialState


def test_each_share_of_a_gpu_has_its_own_costs_memory_and_trials(spec):
    """What did not fit on a quarter may fit on the whole; what was tried on one may be tried on the other."""
    space = {"batch_size": [64, 128, 256], "epochs": 1}

    metrics = {"accuracy": 0.5, "train_time_s": 9.0, "peak_memory_mib": 50.0}
    point = EpochPoint(trial=0, epoch=1, metrics=metrics)
    past = [
        Past(params={"batch_size": 64, "epochs": 1}, state=TrialState.COMPLETE, points=[point], gpu_share=0.25),
        Past(params={"batch_size": 128, "epochs": 1}, state=TrialState.INFEASIBLE, gpu_share=0.25),
    ]
    first = Search(spec(space))
    first.begin_phase(0.25)
    for number, one in enumerate(past):
        first.queue(one.params)
        assert first.ask(number)["batch_size"] == one.params["batch_size"]
        for seen in one.points:
            first.observe(seen)
        first.finish(number, one.state, one.points)
    for search in (first, Search(spec(space), past=past)):
        search.begin_phase(0.25)
        assert search.epoch_time_s({"batch_size": 64, "epochs": 1}) == 9.0
        large = [search._candidates.row({"batch_size": size}) for size in (128, 256)]
        assert search._here.memory.too_large(np.stack(large)).all()
        search.begin_phase(1.0)
        assert search.epoch_time_s({"batch_size": 64, "epochs": 1}) is None
        assert not search._here.memory.too_large(np.stack(large)).any()
        assert {search.ask(number)["batch_size"] for number in (7, 8, 9)} == {64, 128, 256}


def test_less_power_is_another_part_of_the_hardware(spec):
    """What an epoch takes at 200 W says nothing of 300 W, and what was tried there may be tried here."""
    space = {"batch_size": [64, 128], "epochs": 1}
    point = EpochPoint(trial=0, epoch=1, metrics={"accuracy": 0.5, "train_time_s": 9.0})
    params = {"batch_size": 64, "epochs": 1}
    past = Past(params=params, state=TrialState.COMPLETE, points=[point], gpu_share=1.0, power_limit_w=200.0)
    search = Search(spec(space), past=[past])
    search.begin_phase(1.0, 300.0)
    assert search.epoch_time_s(params) is None
    assert {search.ask(number)["batch_size"] for number in (7, 8)} == {64, 128}
    search.begin_phase(1.0, 200.0)
    assert search.epoch_time_s(params) == 9.0


def test_another_type_is_another_part_of_the_hardware(spec):
    """What an epoch takes on A says nothing of B until both are known; then how much faster one is, is known."""
    params = [{"batch_size": size, "epochs": 1} for size in (64, 128)]
    points = [EpochPoint(trial=at, epoch=1, metrics={"accuracy": 0.5, "train_time_s": 8.0}) for at in range(2)]
    past = [
        Past(params=one, state=TrialState.COMPLETE, points=[point], accelerator="A")
        for one, point in zip(params, points, strict=True)
    ]
    search = Search(spec({"batch_size": [64, 128], "epochs": 1}), past=past)
    search.begin_phase(0.0, None, "B")
    assert search.epoch_time_s(params[0]) is None
    on_a, on_b = search._on((0.0, None, "A")), search._here
    assert time_ratio(on_a.costs, on_b.costs) == 1.0
    search.learn_cost(params[0], Cost(step_time_s=0.2, steps_per_epoch=10))
    assert time_ratio(on_a.costs, on_b.costs) == pytest.approx(0.25)
    assert search._acquisition._time_shifts(search._observations.all) == pytest.approx([np.log10(0.25)] * 2)


@pytest.mark.parametrize("sampler", ["curve_ehvi", "random"])
def test_what_a_type_cannot_train_is_not_asked_for_there(spec, sampler):
    """A queued configuration waits for a type that can."""
    search = Search(spec({"precision": ["fp32", "bf16"], "batch_size": [64, 128]}, sampler=sampler))
    search.queue({"precision": "bf16", "batch_size": 64})
    search.begin_phase(0.0, None, "A", possible={"precision": ["fp32"]})
    assert {search.ask(number)["precision"] for number in range(6)} == {"fp32"}
    search.begin_phase(0.0, None, "B")
    assert search.ask(6) == {"precision": "bf16", "batch_size": 64}
