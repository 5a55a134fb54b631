"""Compare searches over tables of learning curves on a simulated clock, hundreds of trials in seconds.

    python tests/benchmarks/simulate.py --tables digits-cnn,fashion-lenet --systems search stock-tpe --seeds 20

A system is a rival of simulated_rivals.py, or `search`: the project's own `Search`, with changes to its spec after a
colon, as in `search:sampler=tpe,stopper=none` (values are YAML; commas inside brackets stay with their value), and with
another library's Gaussian process in place of its own after an at sign: `search@scikit-learn`, `search@botorch`. The
first system is compared with all others: one-sided Mann-Whitney tests of its times being shorter, Holm-corrected over
the tables.
"""

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: two processes of many threads would hinder each other

import numpy as np
import yaml
from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]  # it has no types
from simulated_rivals import RIVALS
from simulator import LEVELS, Machine, System, simulate
from tables import CHOOSING, CURVE_TABLES, FINAL_TABLES, HELD_OUT, RECORDED, Table, load_table

from tune_cnn.search.curve_model import curve_gp
from tune_cnn.search.search import Search
from tune_cnn.spec import StudySpec, parse_spec

MOST_TRIALS = 100_000  # out of reach: the budget of seconds ends a search, so one of short trials is not cut short
GROUPS = {"curves": CURVE_TABLES, "choosing": CHOOSING, "held-out": HELD_OUT, "hpobench": FINAL_TABLES}
PROCESSES = {"": "", "scikit-learn": "scikit_learn_process", "botorch": "botorch_process"}  # "": the search's own
Runs = dict[tuple[str, str], list[dict[str, Any]]]  # (table, system) -> outcomes by seed


@dataclass(frozen=True, kw_only=True)
class Job:
    table: str
    system: str
    seed: int
    machine: Machine
    max_trials: int
    until: float | None
    recorded: Path


def spec_of(
    table: Table, seed: int, changes: Mapping[str, Any] | None = None, *, max_trials: int = MOST_TRIALS
) -> StudySpec:
    """The study that a user would write for the table's grid."""
    space = {name: list(values) if len(values) > 1 else values[0] for name, values in table.space.items()}
    raw: dict[str, Any] = {
        "study": table.name,
        "data": {"name": "digits"},
        "model": {"name": table.model},
        "space": {"epochs": 1, **space},
        "budget": {"trials": max_trials},
        "seed": seed,
    }
    for dotted, value in (changes or {}).items():
        *sections, last = dotted.split(".")
        place = raw
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return parse_spec(raw)


def changes_of(text: str) -> dict[str, Any]:
    """`a.b=1,c=[x, y]` as {"a.b": 1, "c": ["x", "y"]}."""
    found: dict[str, Any] = {}
    for part in re.split(r",(?![^\[{]*[\]}])", text) if text else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise SystemExit(f"--systems: after search: come key=value, got {part!r}")
        found[key.strip()] = yaml.safe_load(value)
    return found


def make_system(text: str, table: Table, seed: int, max_trials: int) -> System:
    name, _, changes = text.partition(":")
    name, _, library = name.partition("@")
    if name == "search" and library in PROCESSES:
        with _process_of(library):
            return Search(spec_of(table, seed, changes_of(changes), max_trials=max_trials))
    if name not in RIVALS or library or changes:
        raise SystemExit(
            f"--systems: {text!r} must be search[@{'|'.join(filter(None, PROCESSES))}][:key=value,…] "
            f"or one of {', '.join(RIVALS)}"
        )
    return RIVALS[name](table, seed)


def _process_of(library: str) -> AbstractContextManager[Any]:
    """Searches made within take this library's Gaussian process."""
    if not library:
        return nullcontext()
    try:
        process = import_module(PROCESSES[library]).GaussianProcess
    except ModuleNotFoundError as error:
        raise SystemExit(f"--systems: @{library} needs {error.name}: uv pip install {library}") from None
    return mock.patch.object(curve_gp, "GaussianProcess", process)


cached_table = lru_cache(maxsize=4)(load_table)


def run_job(job: Job) -> dict[str, Any]:
    table = cached_table(job.table, job.recorded)
    system = make_system(job.system, table, job.seed, job.max_trials)
    outcome = simulate(
        table,
        system,
        name=job.system,
        seed=job.seed,
        machine=job.machine,
        max_trials=job.max_trials,
        until=job.until,
    )
    return outcome.plain()


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[dict[str, Any]]:
    if processes == 1:
        yield from map(run_job, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        for future in as_completed([pool.submit(run_job, job) for job in jobs]):
            yield future.result()


def times(outcomes: Sequence[Mapping[str, Any]], level: float) -> list[float]:
    """Simulated seconds to the level, infinite where it was not reached."""
    found = [outcome["time_to_s"][f"{level:g}"] for outcome in outcomes]
    return [math.inf if at_s is None else at_s for at_s in found]


def shorter_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """One-sided Mann-Whitney: how likely such short times were if neither system were faster."""
    finite = [t for t in [*ours, *theirs] if math.isfinite(t)]
    never = 2 * max(finite, default=1.0)  # never reached ranks last
    replaced = [[min(t, never) for t in side] for side in (ours, theirs)]
    if len(set(replaced[0] + replaced[1])) == 1:
        return 1.0
    return float(mannwhitneyu(*replaced, alternative="less").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def summary(runs: Runs, tables: Sequence[str], systems: Sequence[str]) -> list[str]:
    """Markdown: per table each system's times to the levels, and how the first system compares."""
    lines: list[str] = []
    corrected = {
        (level, system): holm(
            [shorter_p(times(runs[t, systems[0]], level), times(runs[t, system], level)) for t in tables]
        )
        for level in LEVELS
        for system in systems[1:]
    }
    heads = [*(f"to {level:.0%}, s" for level in LEVELS), "cut", "lost", "ms/ask", "one ask, ms", "trials"]
    for at, table in enumerate(tables):
        lines += ["", f"**{table}**", "", *_head([f"n = {len(runs[table, systems[0]])}", *heads])]
        for system in systems:
            cells = [
                _level_cell(
                    times(runs[table, systems[0]], level),
                    times(runs[table, system], level),
                    corrected[level, system][at] if system != systems[0] else None,
                )
                for level in LEVELS
            ]
            lines.append(_row([system, *cells, *_of_trials(runs[table, system])]))
    legend = (
        f"Simulated seconds: median (quartiles); after it {systems[0]}'s median over this one's, and p of "
        f"{systems[0]}'s times being shorter (one-sided Mann-Whitney, Holm over the tables). cut: configurations of "
        "the exact front ever stopped before their last epoch there, of those tried. lost: trials out of memory after "
        "the first ten. ms/ask: the searcher's own CPU time for a trial. one ask: that of a proposal alone, median / "
        "95th percentile."
    )
    return [*lines, "", legend]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _level_cell(ours: Sequence[float], theirs: Sequence[float], p: float | None) -> str:
    low, middle, high = (_quantile(theirs, q) for q in (0.25, 0.5, 0.75))
    spread = f"{_seconds(middle)} ({_seconds(low)} to {_seconds(high)})"
    if p is None:
        return spread
    mine = _quantile(ours, 0.5)
    ratio = f"{mine / middle:.2f}" if math.isfinite(mine) and math.isfinite(middle) else "–"
    return f"{spread}; {ratio}, p={p:.1g}"


def _quantile(values: Sequence[float], q: float) -> float:
    return float(np.quantile(values, q, method="inverted_cdf"))  # of those that are there: infinite ones don't mix


def _seconds(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "never"


def _of_trials(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    tried, cut, late, lost = (
        sum(o[k] for o in outcomes) for k in ("front_tried", "front_cut", "late_trials", "late_infeasible")
    )
    cpu_ms, trials = (median(o[k] for o in outcomes) for k in ("cpu_ms_per_ask", "trials"))
    asks_ms = [one_ms for o in outcomes for one_ms in o["ask_cpu_ms"]]
    ask = " / ".join(f"{np.quantile(asks_ms, q):.1f}" for q in (0.5, 0.95))
    return [f"{cut}/{tried}", f"{lost / max(1, late):.1%}", f"{cpu_ms:.1f}", ask, f"{trials:.0f}"]


def shares(runs: Runs, tables: Sequence[str], systems: Sequence[str]) -> list[str]:
    """Markdown: medians of the share of the exact hypervolume at parts of the budget, of runs to the budget's end."""
    parts = list(runs[tables[0], systems[0]][0]["share_at"])
    lines = ["", *_head(["share of the exact hypervolume", *(f"at {part} of the budget" for part in parts)])]
    for table in tables:
        for system in systems:
            found = [median(o["share_at"].get(part, math.nan) for o in runs[table, system]) for part in parts]
            lines.append(_row([f"{table}, {system}", *(f"{share:.4f}" for share in found)]))
    return lines


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare searches over tables of learning curves.")
    every = ", ".join([*GROUPS, *CURVE_TABLES, *FINAL_TABLES])
    parser.add_argument("--tables", default="curves", help=f"a group, or tables with commas between: {every}")
    parser.add_argument("--systems", nargs="+", default=["search", *RIVALS], help="the first is compared with the rest")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--overhead", type=float, default=0.05, help="per trial, of the table's mean training time")
    parser.add_argument("--failures", type=float, default=0.0, help="share of trials that a fault ends")
    parser.add_argument(
        "--budget-trials", type=float, default=300.0, help="whole trials that fill the simulated budget"
    )
    parser.add_argument("--max-trials", type=int, default=MOST_TRIALS, help="end a search earlier, by its trials")
    parser.add_argument("--whole", action="store_true", help="go on to the budget's end, not to the last level only")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all outcomes here, those of --earlier among them")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="outcomes that need not be run again")
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="folder of the tables with curves")
    return parser


def main() -> None:
    options = command_line().parse_args()
    tables = GROUPS.get(options.tables, options.tables.split(","))
    systems = [s for text in options.systems for s in re.split(r"\s+", text)]
    machine = Machine(
        slots=options.slots,
        overhead=options.overhead,
        failures=options.failures,
        budget_trials=options.budget_trials,
    )
    until = None if options.whole else LEVELS[-1]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [
        Job(
            table=t,
            system=s,
            seed=seed,
            machine=machine,
            max_trials=options.max_trials,
            until=until,
            recorded=options.recorded,
        )
        for t in tables
        for seed in seeds
        for s in systems
    ]
    outcomes = [o for path in options.earlier for o in json.loads(path.read_text())]
    known = {(o["table"], o["system"], o["seed"]) for o in outcomes}
    jobs = [job for job in jobs if (job.table, job.system, job.seed) not in known]
    for count, outcome in enumerate(run_all(jobs, options.processes), start=1):
        outcomes.append(outcome)
        print(f"\r{count}/{len(jobs)}", end="", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps(outcomes, indent=0))
    runs: Runs = {}
    for outcome in sorted(outcomes, key=lambda o: o["seed"]):
        runs.setdefault((outcome["table"], outcome["system"]), []).append(outcome)
    print("\n".join(summary(runs, tables, systems) + (shares(runs, tables, systems) if options.whole else [])))


if __name__ == "__main__":
    main()
