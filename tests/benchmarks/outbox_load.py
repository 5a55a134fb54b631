"""Points per second into MLflow: our outbox, `mlflow.log_metrics` each epoch, and Ray's MLflowLoggerCallback.

    python tests/benchmarks/outbox_load.py
    python tests/benchmarks/outbox_load.py --backend sqlite:///FILE --backend postgresql+psycopg://… --out FILE

Without --backend: a new SQLite file and, where PostgreSQL is installed, a new server of its own (without fsync). Each
backend is MLflow's own store, without a server between. The same made-up trials for all; the outbox finds its
backlog in a study's store, as after an outage. "in the loop" is what one point costs the process that searches.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from measured import machine, save

sys.path.append(str(Path(__file__).parents[1]))
from database_server import postgres

from tune_cnn.records import change_log
from tune_cnn.records.mlflow.environment import make_quiet
from tune_cnn.records.store import Store
from tune_cnn.spec import parse_spec
from tune_cnn.states import TrialState

make_quiet("")  # before mlflow is imported
import mlflow  # noqa: E402  (after make_quiet)
from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: E402  (after make_quiet)

from tune_cnn.records.mlflow.client import Server  # noqa: E402  (after make_quiet)
from tune_cnn.records.outbox.delivery import Delivery  # noqa: E402  (after make_quiet)

PARAMS = {"batch_size": 64, "learning_rate": 0.1}
SPEC = {
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 50, "batch_size": [64, 128], "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
    "budget": {"trials": 100},
}
TURNS = 3  # with and without


def metrics_of(trial: int, epoch: int, count: int) -> dict[str, float]:
    named = {"accuracy": 1 - 1 / (epoch + 1) - trial / 1e4, "train_time_s": epoch * (1 + trial / 100)}
    return named | {f"metric_{k}": float(epoch * k) for k in range(count - 2)}


def filled(folder: Path, name: str, trials: int, epochs: int, metrics: int) -> tuple[Store, list[tuple[float, float]]]:
    """A study with a backlog, and the seconds that each point's commit took, by the clock and of this process's CPU."""
    store = Store(folder)
    store.create_study(name, parse_spec({**SPEC, "study": name}).model_dump(), info={})
    took_s = []
    for trial in range(trials):
        store.add_trial(name, trial, PARAMS, seed=trial)
        for epoch in range(1, epochs + 1):
            began_s, cpu_s = time.perf_counter(), time.process_time()
            store.add_point(name, trial, epoch, metrics_of(trial, epoch, metrics))
            took_s.append((time.perf_counter() - began_s, time.process_time() - cpu_s))
        store.end_trial(name, trial, TrialState.COMPLETE)
    return store, took_s


def by_outbox(store: Store, name: str, uri: str) -> float:
    """Seconds until nothing of the study waits."""
    began_s = time.perf_counter()
    delivery = Delivery(store, name, Server(uri))
    while delivery.deliver():
        pass
    delivery.settle(ended=True)
    return time.perf_counter() - began_s


def by_log_metrics(name: str, uri: str, trials: int, epochs: int, metrics: int) -> float:
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(name)
    began_s = time.perf_counter()
    for trial in range(trials):
        with mlflow.start_run(run_name=f"t{trial}"):
            mlflow.log_params(PARAMS)
            for epoch in range(1, epochs + 1):
                mlflow.log_metrics(metrics_of(trial, epoch, metrics), step=epoch)
    return time.perf_counter() - began_s


def by_callback(name: str, uri: str, trials: int, epochs: int, metrics: int) -> float:
    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name=name, save_artifact=False)
    callback.setup()
    began_s = time.perf_counter()
    for number in range(trials):
        trial = _Trial(trial_id=f"t{number}", config=PARAMS, local_path=None)
        callback.log_trial_start(trial)
        for epoch in range(1, epochs + 1):
            result = metrics_of(number, epoch, metrics) | {"training_iteration": epoch, "timesteps_total": epoch}
            callback.log_trial_result(epoch, trial, result)
        callback.log_trial_end(trial)
    return time.perf_counter() - began_s


class _Trial(SimpleNamespace):
    """What the callback reads of Tune's trial."""

    def __hash__(self) -> int:
        return hash(self.trial_id)


def ours_in_the_loop(trials: int, epochs: int, metrics: int) -> dict[str, float]:
    """Medians in ms: of a point's commit, and of what telling MLflow adds to it (the change log's row).

    With and without by turns, as the machine's load changes; CPU beside the clock, for a machine that is not idle.
    """
    took_s: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for told in (True, False) * TURNS:
        add = change_log.add if told else lambda *a, **k: None
        with mock.patch.object(change_log, "add", add), tempfile.TemporaryDirectory() as folder:
            store, of_points = filled(Path(folder), "loop", trials, epochs, metrics)
            store.close()
            took_s[told] += of_points
    found = {}
    for at, kind in enumerate(("clock", "cpu")):
        with_it, without = (statistics.median(took[at] for took in took_s[told]) * 1e3 for told in (True, False))
        found |= {f"commit_{kind}_ms": with_it, f"added_{kind}_ms": max(0.0, with_it - without)}
    return found


def measure(
    uri: str, sizes: dict[str, int], callback: dict[str, int], done: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Points per second; the callback is slow, so it may be given fewer trials. `done` is told them after each way."""
    kind, stamp = uri.partition(":")[0], str(time.time_ns())
    with tempfile.TemporaryDirectory() as folder:
        store, _ = filled(Path(folder), f"ours-{stamp}", **sizes)
        took_s: dict[str, Callable[[], float]] = {
            "outbox": lambda: by_outbox(store, f"ours-{stamp}", uri),
            "log_metrics": lambda: by_log_metrics(f"plain-{stamp}", uri, **callback),
            "callback": lambda: by_callback(f"callback-{stamp}", uri, **callback),
        }
        Server(uri)  # makes the tables, which is nobody's work
        some = {"outbox": sizes}
        row: dict[str, Any] = {"backend": kind, "cpu_ms_per_point": {}}
        for way, run in took_s.items():
            points = some.get(way, callback)["trials"] * some.get(way, callback)["epochs"]
            began_s = time.process_time()
            row[way] = points / run()
            row["cpu_ms_per_point"][way] = (time.process_time() - began_s) * 1e3 / points
            done(row)
        store.close()
    return {**row, "over_callback": row["outbox"] / row["callback"]}


@contextmanager
def backends(given: list[str] | None) -> Iterator[list[str]]:
    if given:
        yield given
        return
    with ExitStack() as stack:
        uris = [f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/mlflow.db"]
        try:
            uris.append(stack.enter_context(postgres()))
        except pytest.skip.Exception as why:
            print(f"SQLite alone: {why}")
        yield uris


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", action="append", help="SQLAlchemy URL; may stand more than once")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--metrics", type=int, default=18)
    parser.add_argument("--slow-trials", type=int, default=4, help="of the two that we are compared with")
    parser.add_argument("--out", type=Path, default=Path("outbox_load.json"))
    return parser


def main() -> None:
    given = command_line().parse_args()
    sizes = {"trials": given.trials, "epochs": given.epochs, "metrics": given.metrics}
    slow = {**sizes, "trials": given.slow_trials}
    rows: list[dict[str, Any]] = []
    document: dict[str, Any] = {"machine": machine(), "sizes": sizes, "points_per_s": rows}

    def keep(begun: dict[str, Any]) -> None:
        save(given.out, {**document, "points_per_s": [*rows, begun]})

    with backends(given.backend) as uris:
        for uri in uris:
            row = measure(uri, sizes, slow, keep)
            rows.append(row)
    document["in_the_loop"] = ours_in_the_loop(min(given.trials, 10), given.epochs, given.metrics)
    save(given.out, document)
    print(f"{'backend':24}{'outbox':>12}{'log_metrics':>14}{'callback':>12}{'outbox/callback':>18}   points/s")
    for row in rows:
        print(
            f"{row['backend']:24}{row['outbox']:12.1f}{row['log_metrics']:14.1f}{row['callback']:12.2f}"
            f"{row['over_callback']:18.1f}"
        )
        print("  CPU ms a point:", {way: round(ms, 1) for way, ms in row["cpu_ms_per_point"].items()})
    print("in the loop:", {k: round(v, 2) for k, v in document["in_the_loop"].items()})


if __name__ == "__main__":
    main()
