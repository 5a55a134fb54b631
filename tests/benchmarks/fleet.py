"""A search on a fleet that breaks, on a simulated clock: 200 nodes of 4 slots, spot losses, trials of 1 to 60 minutes.

    python tests/benchmarks/fleet.py --hours 6 --out fleet.json
    python tests/benchmarks/fleet.py --hours 6 --postgresql --out fleet.json

What decides is real: `SearchDriver` with its search, stopper and budget, `TuneAdapter`, and a store that commits every
epoch. Simulated are the nodes, what Ray does with them, and the training, whose curves and times come from a hash of
the configuration. A lost node gives notice or none; its trials go on from their last checkpoint where the driver sends
them; another node takes its place some minutes later. The clock of the driver is the simulated one, its CPU is real.

Printed: the share of the slots' time that was training and evaluation of epochs that count, where the rest went, the
driver's CPU seconds for a result, and how many results a second its store could take beside how many came.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from measured import machine, save, show

sys.path.append(str(Path(__file__).parents[1]))
from database_server import postgres
from fleet_parts import Clock, Fleet
from fleet_slots import Simulation
from study.made_up import session_of

from tune_cnn.records.store import Store
from tune_cnn.search.search import Search
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.study.searching import budget, driver, running
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.driver import SearchDriver

SPEC = {
    "study": "fleet",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "objectives": ["accuracy", "train_time_s"],
    "space": {
        "epochs": 12,
        "batch_size": [32, 64, 128, 256, 512, 1024],
        "learning_rate": {"low": 0.001, "high": 1.0, "log": True},
        "lr_rule": ["none", "sqrt", "linear"],
        "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
        "label_smoothing": {"low": 0.0, "high": 0.2},
    },
}


@contextmanager
def simulated(clock: Clock) -> Iterator[None]:
    """The driver and its budget go by the simulated clock."""
    told = SimpleNamespace(monotonic=lambda: clock.now_s)
    with ExitStack() as stack:
        for module in (driver, budget, running):
            stack.enter_context(mock.patch.object(module, "time", told))
        yield


def search_fleet(fleet: Fleet, spec: StudySpec, store: Store, *, hours: float, seed: int) -> dict[str, Any]:
    """One search; a row of the table."""
    clock, count = Clock(), fleet.nodes * fleet.slots
    store.create_study(spec.study, spec.model_dump(), info={})
    with simulated(clock), store.lease(spec.study):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        search = SearchDriver(
            session_of(store, spec), Search(spec), slots=count, show=lambda progress: None, forget=lambda trial: None
        )
        search.begin_phase(0.0, count, end=PhaseEnd())
        simulation = Simulation(fleet, search, clock, seed=seed)
        simulation.run(hours)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    if search.failure is not None:
        raise search.failure
    spent, results = simulation.spent, simulation.adapted.results
    return {
        "useful_pct": 100 * spent.useful / spent.total,
        **{f"{name}_pct": 100 * seconds / spent.total for name, seconds in spent.other.most_common() if name != "gone"},
        "nodes_lost": simulation.losses["nodes"],
        "of_them_announced": simulation.losses["with notice"],
        "results": results,
        "results_per_s": results / (hours * 3600),
        "trials": search.counts,
        "doubled_or_missing": holes(store, spec.study),
        "driver_cpu_ms_per_result": 1e3 * simulation.adapted.cpu_s / results,
        "driver_cpu_pct_of_a_core": 100 * simulation.adapted.cpu_s / (hours * 3600),
        "search_took_s": took_s,
        "search_cpu_s": cpu_s,
    }


def holes(store: Store, study: str) -> int:
    """Epochs that are missing between a trial's first and last, or stand twice."""
    epochs: dict[int, list[int]] = {}
    for point in store.points(study):
        epochs.setdefault(point.trial, []).append(point.epoch)
    return sum(sorted(mine) != list(range(1, len(mine) + 1)) for mine in epochs.values())


def store_rate(store: Store, spec: StudySpec, *, seconds: float) -> float:
    """Results a second that the store takes, one commit each, one after another as the driver makes them."""
    store.create_study(spec.study, spec.model_dump(), info={})
    with store.lease(spec.study):
        store.add_trial(spec.study, 0, {"epochs": 1}, seed=0)
        metrics = {f"metric_{number}": float(number) for number in range(20)}  # as many as a trial on a CPU tells
        began_s, epoch = time.perf_counter(), 0
        while time.perf_counter() - began_s < seconds:
            epoch += 1
            store.add_point(spec.study, 0, epoch, metrics, checkpoint="checkpoint")
        return epoch / (time.perf_counter() - began_s)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--slots", type=int, default=4, help="of a node")
    parser.add_argument("--hours", type=float, default=6.0, help="simulated")
    parser.add_argument("--loss-pct", type=float, default=5.0, help="of the nodes, an hour")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate-s", type=float, default=10.0, help="seconds for a store's rate")
    parser.add_argument(
        "--stopper", choices=("both", "with", "without"), default="both", help="trials are stopped early"
    )
    parser.add_argument("--postgresql", action="store_true", help="the rate of a PostgreSQL of its own too")
    parser.add_argument("--out", type=Path, default=Path("fleet.json"), help="JSON file")
    return parser


def main() -> None:
    asked = command_line().parse_args()
    of_machine = machine()
    fleet = Fleet(nodes=asked.nodes, slots=asked.slots, loss_per_hour=asked.loss_pct / 100)
    rows, rates = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = {"SQLite": str(folder)}
        if asked.postgresql:
            places["PostgreSQL"] = stack.enter_context(postgres())
        for name, place in places.items():
            store = Store(place)
            stack.callback(store.close)
            rates.append({"store": name, "results_per_s": store_rate(store, named("rate"), seconds=asked.rate_s)})
        for stops in {"both": (False, True), "with": (True,), "without": (False,)}[asked.stopper]:
            store = Store(folder / f"stops-{stops}")
            stack.callback(store.close)
            spec = named("fleet", **({} if stops else {"stopper": "none"}))
            rows.append({"stopper": stops, **search_fleet(fleet, spec, store, hours=asked.hours, seed=asked.seed)})
    show(rates)
    for row in rows:
        show([{"what": name, "value": value} for name, value in row.items()])
    save(asked.out, {"machine": of_machine, "fleet": vars(fleet), "hours": asked.hours, "rows": rows, "rates": rates})


def named(study: str, **changes: Any) -> StudySpec:
    return parse_spec({**SPEC, "study": study, "budget": {"trials": 10**6}, **changes})


if __name__ == "__main__":
    main()
