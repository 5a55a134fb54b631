"""The simulator's clock and slots, its measures, the recorded tables, and the rivals as they are told of."""

import math
import sys

import moocore
import numpy as np
import pytest
from simulate import changes_of, holm, main, make_system, shorter_p, spec_of
from simulated_rivals import MoAsha, StockOptunaSearch, epsilon_net, position_of_last
from simulator import Machine, Simulation, simulate
from tables import CURVE_TABLES, Curve, Table, load_table

from tune_cnn.front.dominance import objective_matrix
from tune_cnn.metrics import EpochPoint

SYSTEMS = ["search", "random", "stock-tpe", "stock-tpe-asha", "nsga2", "mo-asha"]


def curve(accuracies, seconds, *, diverges=False, memory_mib=None) -> Curve:
    times_s = np.cumsum(seconds)
    epochs = [{"accuracy": a, "train_time_s": float(t)} for a, t in zip(accuracies, times_s, strict=False)]
    return Curve(epochs=epochs, seconds=seconds, diverges=diverges, memory_mib=memory_mib)


@pytest.fixture
def small() -> Table:
    """Three configurations: two epochs of 2 s, one of 3 s, and one that diverges in its second second."""
    curves = {
        (16,): curve([0.5, 0.6], [2.0, 2.0], memory_mib=1.0),
        (32,): curve([0.7], [3.0], memory_mib=2.0),
        (64,): curve([0.3], [1.0, 1.0], diverges=True, memory_mib=4.0),
    }
    return Table(name="small", model="small_cnn", space={"batch_size": [16, 32, 64]}, curves=curves)


@pytest.fixture
def grid() -> Table:
    """36 configurations of up to four epochs; larger batches are faster, the best rate lies in the middle."""
    space = {"batch_size": [16, 32, 64], "learning_rate": [0.01, 0.03, 0.1, 0.3], "epochs": [1, 2, 4]}
    curves = {}
    for batch in space["batch_size"]:
        for rate in space["learning_rate"]:
            for horizon in space["epochs"]:
                tops = [0.9 - abs(math.log10(rate / 0.1)) / 4 - batch / 500] * horizon
                accuracies = [top * (1 - 0.5**epoch) for epoch, top in enumerate(tops, start=1)]
                curves[batch, rate, horizon] = curve(accuracies, [32 / batch] * horizon, memory_mib=float(batch))
    return Table(name="grid", model="small_cnn", space=space, curves=curves)


class Scripted:
    """Asks for what it was given, stops where it was told, and remembers all calls."""

    def __init__(self, *batches: int, stop_after: int | None = None) -> None:
        self.batches, self.stop_after, self.calls = batches, stop_after, []

    def ask(self, number):
        self.calls.append(("ask", number))
        return {"batch_size": self.batches[number]}

    def observe(self, point):
        self.calls.append(("observe", point.trial, point.epoch))
        return point.epoch == self.stop_after

    def finish(self, number, state, points):
        self.calls.append((state, number, len(points)))


def test_two_slots_on_the_clock_as_by_hand(small):
    """One second to start each trial; a slot is free when its trial ends, and not before."""
    system, machine = Scripted(16, 32, 64), Machine(slots=2, overhead=1 / 3)
    assert machine.overhead_s(small) == pytest.approx(1.0)  # of 4, 3 and 2 seconds
    simulation = Simulation(small, system, machine, seed=0)
    trace = simulation.run(max_trials=3, until=None)
    assert system.calls == [
        ("ask", 0),
        ("ask", 1),
        ("observe", 0, 1),  # at 3 s
        ("observe", 1, 1),  # at 4 s
        ("complete", 1, 1),
        ("ask", 2),
        ("observe", 0, 2),  # at 5 s
        ("complete", 0, 2),
        ("observe", 2, 1),  # at 6 s
        ("failed", 2, 1),  # at 7 s
    ]
    assert [at_s for at_s, _ in trace] == pytest.approx([0.0, 3.0, 4.0, 6.0])  # 0.6 in 4 s adds nothing to 0.7 in 3 s
    assert trace[-1][1] == pytest.approx(1.0)
    outcome = simulation.outcome("scripted", 0)
    assert outcome.simulated_s == pytest.approx(7.0)
    assert outcome.states == {"complete": 2, "failed": 1}
    assert outcome.time_to_s["0.99"] == pytest.approx(6.0)


def test_budget_and_level_end_a_simulation(small):
    """Nothing that happens after the budget counts, and a level that is reached is the end."""
    machine = Machine(slots=1, overhead=1 / 3, budget_trials=1.0)
    assert machine.budget_s(small) == pytest.approx(4.0)
    late = Simulation(small, Scripted(16, 16), machine, seed=0)
    assert [at_s for at_s, _ in late.run(max_trials=2, until=None)] == pytest.approx([0.0, 3.0])
    system = Scripted(32, 64)
    early = Simulation(small, system, Machine(slots=1), seed=0)
    early.run(max_trials=2, until=0.5)
    assert system.calls[-1] == ("ask", 1)


def test_a_front_configuration_stopped_too_early_is_counted(grid):
    """Its last epoch on the exact front is what it had to reach."""
    at, epoch = max(grid.front_epochs.items(), key=lambda item: item[1])
    assert epoch > 1
    params = dict(zip(grid.space, at, strict=True))
    for stop_after, cut in ((1, 1), (epoch, 0)):
        system = Scripted(stop_after=stop_after)
        system.ask = lambda number: params
        simulation = Simulation(grid, system, Machine(slots=1), seed=0)
        simulation.run(max_trials=2, until=None)
        outcome = simulation.outcome("scripted", 0)
        assert (outcome.front_tried, outcome.front_cut) == (1, cut)


def test_out_of_memory_costs_a_start_and_is_counted_after_ten_trials(small):
    """The exact front is that of what fits."""
    cliff = small.with_memory_cliff()
    assert cliff.memory_limit_mib == 2.0  # the next below the 4 MiB of the fastest
    assert all(list(cliff.curves)[point.trial] != (64,) for point in cliff.exact_front)
    system = Scripted(*[64] * 12)
    outcome = simulate(
        cliff, system, name="x", seed=0, machine=Machine(slots=1, budget_trials=1e3), max_trials=12, until=None
    )
    assert outcome.states == {"infeasible": 12}
    assert (outcome.late_trials, outcome.late_infeasible) == (2, 2)
    assert outcome.simulated_s == pytest.approx(12 * Machine().overhead_s(cliff))


def test_faults_end_some_trials(grid):
    """As failed, with the points that they had."""
    system = make_system("random", grid, 0, 30)
    outcome = simulate(grid, system, name="x", seed=0, machine=Machine(failures=0.5), max_trials=30, until=None)
    assert 5 < outcome.states["failed"] < 25


def test_the_exact_hypervolume_is_moocores(grid):
    """Over all epochs of all configurations, errors and decades of time."""
    points = [EpochPoint(trial=0, epoch=1, metrics=metrics) for one in grid.curves.values() for metrics in one.epochs]
    reference = [1 - grid.reference["accuracy"], math.log10(grid.reference["train_time_s"])]
    expected = moocore.hypervolume(objective_matrix(points, grid.objectives), ref=reference)
    assert grid.exact_hypervolume == pytest.approx(expected)
    assert grid.reference["accuracy"] == 0 and grid.reference["train_time_s"] >= 10 * 2.0


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_seed_decides_a_simulation(grid, system):
    """The same outcome again, another for another seed; all trials end in a state that the driver knows."""

    def outcome(seed: int):
        made = make_system(system, grid, seed, 25)
        found = simulate(grid, made, name=system, seed=seed, machine=Machine(), max_trials=25, until=None).plain()
        return {key: value for key, value in found.items() if key not in ("cpu_ms_per_ask", "ask_cpu_ms", "seed")}

    first = outcome(0)
    assert first == outcome(0)
    assert first != outcome(1)
    assert set(first["states"]) <= {"complete", "stopped", "failed", "infeasible"}
    assert 0 < first["share_at"]["0.1"] <= 1 + 1e-9  # a quotient of two volumes


@pytest.mark.parametrize("name", CURVE_TABLES)
def test_a_recorded_table_is_a_full_grid_that_trades_accuracy_for_time(name):
    """At least 250 configurations, eight points on the front, and all keys a spec's space knows."""
    table = load_table(name)
    assert len(table.curves) == math.prod(map(len, table.space.values())) >= 250
    assert len(table.exact_front) >= 8
    assert spec_of(table, 0).searched.keys() == table.space.keys()
    for params in table.configurations():
        found = table.curve(params)
        assert len(found.seconds) == len(found.epochs) + found.diverges
        assert found.diverges or len(found.epochs) == params["epochs"]


def test_the_net_goes_from_the_best_to_the_farthest():
    """Farthest from all before it; equal rows last."""
    costs_nk = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert epsilon_net(costs_nk) == [0, 2, 3, 1, 4]
    assert position_of_last(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])) == 3
    assert position_of_last(np.array([[3.0, 3.0], [1.0, 2.0], [2.0, 1.0]])) == 1


def test_mo_asha_stops_below_its_best_third_at_a_rung(grid):
    """Rungs at 1 and 3 epochs; the first at a rung always goes on."""
    system = MoAsha(grid, 0)

    def told(trial: int, epoch: int, accuracy: float, seconds: float) -> bool:
        return system.observe(
            EpochPoint(trial=trial, epoch=epoch, metrics={"accuracy": accuracy, "train_time_s": seconds})
        )

    assert [told(trial, 1, 0.9 - trial / 10, 1.0) for trial in range(3)] == [False, True, True]
    assert told(0, 2, 0.1, 9.0) is False
    assert told(3, 1, 0.95, 1.0) is False


def test_stock_search_is_told_a_truncated_time_as_complete(grid):
    """As OptunaSearch does with a trial that ASHA stopped; a failed one it is told as failed."""
    system = StockOptunaSearch(grid, 0, asha=True)
    for number, state in enumerate(["stopped", "failed"]):
        system.ask(number)
        point = EpochPoint(trial=number, epoch=1, metrics={"accuracy": 0.3, "train_time_s": 10.0})
        assert system.observe(point) is False
        system.finish(number, state, [point])
    stopped, failed = system._search._ot_study.trials
    assert stopped.state.name == "COMPLETE" and stopped.values == [0.3, 10.0]
    assert failed.state.name == "FAIL"


def test_statistics():
    """Holm's steps as by hand; a level that is never reached ranks last."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert shorter_p([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, math.inf]) == pytest.approx(1 / 70)
    assert shorter_p([math.inf], [math.inf]) == 1.0


def test_changes_of_a_spec_are_read_as_yaml():
    """Commas inside brackets stay with their value."""
    assert changes_of("sampler=tpe,a.b=[1, 2],c=0.5") == {"sampler": "tpe", "a.b": [1, 2], "c": 0.5}


def test_the_command_explains_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "--tables" in capsys.readouterr().out
