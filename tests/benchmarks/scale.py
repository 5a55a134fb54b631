"""Goal 4 of speed: what a trial costs that trains nothing, and how that grows with the number of trials.

    python tests/benchmarks/scale.py --repeats 3 --out scale.json

1. `--trials` trials of a training that does nothing, 2 slots, into store, display and outbox: trials a second from the
   first trial's start to the last one's end; the driver's memory a trial, from the tenth part of them on; how many
   changes MLflow still has to be told then, the seconds until none, and all changes over the seconds from the first
   trial's start until none waits. That rate is what the search made, where the outbox kept up: it can do no less, and
   outbox_load.py measures what it can.
2. One `ask`, `observe` and `finish` after 100 … 10,000 trials that the search remembers: in this space of three epochs
   without a stopper, and as the search is used: the recipe `joint`, ten epochs, the stopper, one trial in fifty lost to
   memory.
3. `front` over a study of 10,000 trials × 10 epochs: from the store, and from MLflow's points.json alone.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from measured import machine, save, show, spread
from nothing import made_up
from sqlalchemy import insert

from tune_cnn.metrics import EpochPoint
from tune_cnn.records.document import StudyArchive, write_document
from tune_cnn.records.mlflow.client import KIND
from tune_cnn.records.mlflow.client import STUDY as STUDY_TAG
from tune_cnn.records.store import Store
from tune_cnn.records.tables import points, trials
from tune_cnn.search.search import Past, Search
from tune_cnn.spec import StudySpec, load_spec, parse_spec
from tune_cnn.states import StudyState, TrialState

STUDY = "scale"
SPACE = {
    "epochs": 3,
    "batch_size": [32, 64, 128, 256],
    "learning_rate": {"low": 0.001, "high": 1.0, "log": True},
    "lr_rule": ["none", "sqrt", "linear"],
    "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
    "label_smoothing": {"low": 0.0, "high": 0.2},
}
REMEMBERED = (100, 1000, 3000, 10_000)
ASKS = 5  # of which the median counts
LOOK_S, LOOK_CLOSELY_S = 0.5, 0.1  # between two looks at the store, while trials run and when they have ended


def spec_of(trials_budget: int) -> StudySpec:
    return parse_spec(
        {
            "study": STUDY,
            "data": {"name": "digits"},
            "model": {"name": "small_cnn"},
            "space": SPACE,
            "stopper": "none",
            "budget": {"trials": trials_budget},
            "resources": {"slots": 2},
        }
    )


# 1. A search


def search_nothing(number: int) -> dict[str, float]:
    """In a driver of its own, which prints what it measured as its last line."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [sys.executable, __file__, "--search", folder, "--trials", str(number)]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def drive(folder: Path, number: int) -> dict[str, float]:
    from tune_cnn.reports.terminal.live import LiveDisplay
    from tune_cnn.study.locations import Locations
    from tune_cnn.study.searching.course import search

    memory: dict[int, int] = {}
    display = LiveDisplay()
    shown = display.update

    def update(progress: Any) -> None:
        memory[progress.trials_done] = psutil.Process().memory_info().rss
        shown(progress)

    display.update = update  # type: ignore[method-assign]  # what it shows is counted on the way
    locations = Locations(home=folder, tracking_uri=f"sqlite:///{folder}/mlflow.db", loop="nothing:NothingLoop")
    seen: dict[str, float] = {}
    over = threading.Event()
    watch = threading.Thread(target=_watch_delivery, args=(folder, number, over, seen), daemon=True)
    watch.start()
    search(spec_of(number), locations, display)
    over.set()
    watch.join(60)
    store = Store(folder)
    try:
        all_trials = store.trials(STUDY)
    finally:
        store.close()
    began_s = min(t.started.timestamp() for t in all_trials)
    ended_s = max(t.ended.timestamp() for t in all_trials if t.ended)
    early = min(n for n in memory if n >= number / 10)
    return {
        "trials_per_s": len(all_trials) / (ended_s - began_s),
        "driver_kib_per_trial": (memory[max(memory)] - memory[early]) / 1024 / (max(memory) - early),
        **_delivery(seen, began_s, ended_s),
    }


def _delivery(seen: dict[str, float], began_s: float, ended_s: float) -> dict[str, float]:
    if "told" not in seen:  # not all in the time that the search waits for it
        return seen
    return {
        "mlflow_backlog": seen["mlflow_backlog"],
        "mlflow_backlog_gone_s": seen["told_at_s"] - ended_s,
        "mlflow_told_per_s": seen["told"] / (seen["told_at_s"] - began_s),
    }


def _watch_delivery(folder: Path, number: int, over: threading.Event, seen: dict[str, float]) -> None:
    """What waits for MLflow when the last trial has ended, when nothing waits any more, and what was told by then.

    The time is of the machine's clock; it and the last are missing where the search is over before.
    """
    while not (folder / "studies.db").exists():
        time.sleep(LOOK_S)
    store = Store(folder)
    done = False
    while not done:
        done = over.wait(LOOK_CLOSELY_S if "mlflow_backlog" in seen else LOOK_S)  # once more when it is set
        if "mlflow_backlog" not in seen and _ended(store) >= number:
            seen["mlflow_backlog"] = float(store.deliveries.count(STUDY))
        if "mlflow_backlog" in seen and not store.deliveries.count(STUDY):
            seen |= {"told_at_s": time.time(), "told": float(_changes_made(folder))}
            done = True
    store.close()


def _ended(store: Store) -> int:
    return len(store.trials(STUDY, state=TrialState.COMPLETE)) if store.study(STUDY) is not None else 0


def _changes_made(folder: Path) -> int:
    """Of the study so far, told or not: their numbers are never used again."""
    with sqlite3.connect(f"file:{folder}/studies.db?mode=ro", uri=True) as database:
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tune_cnn_changes'").fetchone()
    return int(row[0])


# 2. A search that remembers


def remember(number: int, spec: StudySpec, *, epochs: int, lost_each: int | None = None) -> dict[str, float]:
    """Milliseconds of one `ask` and of what its trial tells, when `number` trials are known.

    `lost_each`: one in so many of them ran out of memory.
    """
    random = Search(spec.model_copy(update={"sampler": spec.sampler.model_copy(update={"name": "random"})}))
    past = []
    for trial in range(number):
        params = random.ask(trial)
        if lost_each and trial % lost_each == 0:
            past.append(Past(params=params, state=TrialState.INFEASIBLE))
        else:
            past.append(Past(params=params, state=TrialState.COMPLETE, points=_points(trial, params, epochs)))
    began = time.perf_counter()
    search = Search(spec, past=past)
    rebuilt = time.perf_counter() - began
    asks_s, asks_cpu_s, tells_s = [], [], []
    for trial in range(number, number + ASKS):
        began, began_cpu = time.perf_counter(), time.process_time()
        params = search.ask(trial)
        asks_s.append(time.perf_counter() - began)
        asks_cpu_s.append(time.process_time() - began_cpu)
        began = time.perf_counter()
        told = _points(trial, params, epochs)
        for point in told:
            search.observe(point)
        search.finish(trial, TrialState.COMPLETE, told)
        tells_s.append(time.perf_counter() - began)
    return {
        "ask_ms": 1000 * median(asks_s),
        "ask_cpu_ms": 1000 * median(asks_cpu_s),
        "tell_ms": 1000 * median(tells_s),
        "rebuild_s": rebuilt,
    }


def _points(trial: int, params: dict[str, Any], epochs: int) -> list[EpochPoint]:
    return [EpochPoint(trial=trial, epoch=e, metrics=made_up(params, e)) for e in range(1, epochs + 1)]


# 3. A large study's front


def large_study(folder: Path, number: int, epochs: int) -> None:
    """In a store, and in an MLflow that knows its points.json alone. In bulk: writing is not what is measured."""
    store = Store(folder)
    info = {"data": {}, "hardware": {}, "versions": {}}
    store.create_study(STUDY, spec_of(number).model_dump(), info=info)
    search = Search(
        spec_of(number).model_copy(update={"sampler": spec_of(1).sampler.model_copy(update={"name": "random"})})
    )
    all_params = [search.ask(trial) for trial in range(number)]
    with store._database.write() as connection:
        key = store._key(connection, STUDY)
        rows = [
            {"study_id": key, "number": n, "params": json.dumps(p), "seed": n, "origin": "sampler", "state": "complete",
             "started_ms": n, "ended_ms": n + 1, "attempts": 1, "extra": "{}"}
            for n, p in enumerate(all_params)
        ]  # fmt: skip
        connection.execute(insert(trials), rows)
        connection.execute(
            insert(points),
            [
                {"study_id": key, "trial": n, "epoch": e, "metrics": json.dumps(made_up(p, e)), "reported_ms": n}
                for n, p in enumerate(all_params)
                for e in range(1, epochs + 1)
            ],
        )
    store.update_study(STUDY, state=StudyState.FINISHED)
    record = store.study(STUDY)
    assert record is not None
    archive = StudyArchive(study=record, trials=tuple(store.trials(STUDY)), points=tuple(store.points(STUDY)))
    store.close()
    _to_mlflow(archive, folder)


def _to_mlflow(archive: StudyArchive, folder: Path) -> None:
    """As the outbox writes it: an experiment, a parent run, its points.json."""
    import mlflow  # which takes seconds, in this part alone

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(STUDY, tags={STUDY_TAG: STUDY}, artifact_location=str(folder / "artifacts"))
    run = client.create_run(experiment, tags={KIND: "study", STUDY_TAG: STUDY})
    text = write_document(archive.study, archive.trials, archive.points)
    client.log_text(run.info.run_id, text, "points.json")


def front_times(folder: Path, repeats: int) -> Iterator[tuple[str, dict[str, float]]]:
    """By turns from the store and from points.json, each so often."""
    from at_rest import timed

    alone = f"sqlite:///{folder}/mlflow.db"
    ways = {
        "store": ["front", STUDY, "--home", str(folder)],
        "points.json": ["front", STUDY, "--home", str(folder / "nowhere"), "--tracking-uri", alone],
    }
    for _ in range(repeats):
        for way, words in ways.items():
            yield way, timed(words, folder)


def table(found: dict[str, Any]) -> list[dict[str, Any]]:
    goals = {"trials_per_s": "≥ 15", "driver_kib_per_trial": "≤ 40"}
    rows = []
    for name in (*goals, "mlflow_backlog", "mlflow_backlog_gone_s", "mlflow_told_per_s"):
        row = {
            "measure": name,
            "n": len(found["search"]),
            "median (low … high)": spread(_column(found["search"], name)),
        }
        rows.append({**row, "goal": goals.get(name, "stated")})
    for part, what in (("remember", ""), ("remember_as_used", ", as used")):
        for number, runs in found[part].items():
            for name in ("ask_ms", "ask_cpu_ms", "tell_ms", "rebuild_s"):
                goal = "≤ 50" if (name, int(number)) == ("ask_ms", 1000) else ""
                row = {"measure": f"{name} after {int(number):,} trials{what}", "n": len(runs)}
                rows.append({**row, "median (low … high)": spread(_column(runs, name)), "goal": goal})
    for way, runs in found["front"].items():
        for name in ("wall_s", "cpu_s"):
            goal = {"store": "≤ 2", "points.json": "≤ 15"}[way] if name == "wall_s" else ""
            row = {"measure": f"front from {way}, {name}", "n": len(runs)}
            rows.append({**row, "median (low … high)": spread(_column(runs, name)), "goal": goal})
    return rows


def _column(runs: Sequence[dict[str, float]], name: str) -> list[float]:
    return [run[name] for run in runs if name in run]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--remembered", type=int, nargs="*", default=list(REMEMBERED))
    parser.add_argument("--large", type=int, default=10_000, help="trials of the study whose front is asked for")
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)  # the driver of one search
    return parser


def main() -> None:
    asked = command_line().parse_args()
    if asked.search is not None:
        found_once = drive(asked.search, asked.trials)
        sys.stdout.write(json.dumps(found_once) + "\n")
        sys.stdout.flush()
        os._exit(0)  # the watching thread may still wait
    about = machine()
    found: dict[str, Any] = {part: {str(n): [] for n in asked.remembered} for part in ("remember", "remember_as_used")}
    found |= {"search": [], "front": {}}

    def keep(runs: list[dict[str, float]], run: dict[str, float]) -> None:
        runs.append(run)
        save(asked.out, {"machine": about, "runs": found, "table": table(found)})

    for _ in range(asked.repeats):
        keep(found["search"], search_nothing(asked.trials))
        for number in asked.remembered:
            keep(found["remember"][str(number)], remember(number, spec_of(number + ASKS), epochs=3))
            joint = load_spec("joint", [f"budget.trials={number + ASKS}"])
            keep(found["remember_as_used"][str(number)], remember(number, joint, epochs=10, lost_each=50))
    with tempfile.TemporaryDirectory() as folder:
        large_study(Path(folder), asked.large, epochs=10)
        for way, run in front_times(Path(folder), asked.repeats):
            keep(found["front"].setdefault(way, []), run)
    show(table(found))


if __name__ == "__main__":
    main()
