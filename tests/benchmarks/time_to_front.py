"""Goal 3 of speed: wall-clock from the command to 90 % and 95 % of the best front that any system found.

    python tests/benchmarks/time_to_front.py --root ROOT_OF_FASHION_MNIST --seconds 180 r1=600 --out front.json

LeNet-5, 10,000 images to train and 5,000 to validate; batch size, learning rate, lr_rule, loader, loader workers and
precision. Rivals also run with tune_cnn's training code (`+ours`), which tells what is search and what training.

One clock for all: a point's time is not what it measured beside another trial, but its epochs times the seconds of an
epoch of its configuration trained alone afterwards, by the code that trained it. The reference front is the best of all
points so timed of a repeat: each repeat has images of its own (contest.py says why), and points on other images are not
comparable. What a run reports after its budget, counted from its command, is left out everywhere. A run that never
reaches a level counts with its budget, and the ratio is a bound; one whose command failed counts as failed, nowhere
else. Rivals may be given longer than tune_cnn: to tell whether they take ten times as long, they must be let.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contest import RIVALS, Epoch, Task, Trace, environment, run_ours, run_rival, time_alone, unpacked
from measured import machine, save, show

from tune_cnn.front.hypervolume import hypervolume, reference_point
from tune_cnn.metrics import METRICS, EpochPoint

LEVELS = (0.90, 0.95)
SPACE = {
    "batch_size": [32, 64, 128, 256, 512],
    "learning_rate": {"low": 0.003, "high": 0.6},
    "lr_rule": ["none", "sqrt", "linear"],
    "loader_workers": [0, 1],
    "precision": ["fp32", "bf16"],
}
OWN_SPACE = {"loader": ["device", "batched", "stream"]}
OBJECTIVES = [METRICS["accuracy"], METRICS["train_time_s"]]
TIMED = ("batch_size", "loader", "loader_workers", "precision")  # what decides the seconds of an epoch


def timed_by(system: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Points with the same key take the same seconds an epoch."""
    ours = system == "tune_cnn" or system.endswith("+ours")
    return (ours, *(config.get(key) for key in TIMED))


def retimed(trace: Trace, epoch: Epoch, alone_s: Mapping[tuple[Any, ...], float]) -> EpochPoint:
    seconds = epoch.epoch * alone_s[timed_by(trace.system, epoch.config)]
    return EpochPoint(
        trial=int(epoch.trial, 36) % 2**31,
        epoch=epoch.epoch,
        metrics={"accuracy": epoch.accuracy, "train_time_s": seconds},
    )


def all_alone(keys: Sequence[tuple[Any, ...]], python: Path, task: Task) -> dict[tuple[Any, ...], float]:
    """Seconds of an epoch of each kind of configuration, one after another on an otherwise idle machine."""
    alone_s: dict[tuple[Any, ...], float] = {}
    for training in ("ours", "stock"):
        asked = [key for key in keys if key[0] == (training == "ours")]
        configurations = [
            {
                "learning_rate": 0.01,
                **{name: value for name, value in zip(TIMED, key[1:], strict=True) if value is not None},
            }
            for key in asked
        ]
        few = replace(task, epochs=3)
        alone_s |= dict(zip(asked, time_alone(configurations, python, few, training=training), strict=True))
    return alone_s


def counted(traces: Sequence[Trace]) -> list[Trace]:
    """The runs that did not fail, without what they reported after their budgets."""
    return [
        replace(trace, epochs=[e for e in trace.epochs if e.at_s <= trace.started_s + trace.budget_s])
        for trace in traces
        if trace.exit_code == 0
    ]


def time_to(
    trace: Trace, level: float, reference: Mapping[str, float], alone_s: Mapping[tuple[Any, ...], float]
) -> float:
    """Seconds from the command until this share of the reference hypervolume stands; infinite where it never does."""
    seen: list[EpochPoint] = []
    for epoch in trace.epochs:
        seen.append(retimed(trace, epoch, alone_s))
        if hypervolume(seen, OBJECTIVES, reference) >= level:
            return epoch.at_s - trace.started_s
    return float("inf")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--rivals", nargs="*", default=["r1", "r3", "r4"], choices=list(RIVALS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", nargs="+", default=["300"], help="budget of a run: of all, and NAME=SECONDS of a rival's alone"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--swapped", nargs="*", choices=list(RIVALS), help="rivals to run with tune_cnn's training too")
    parser.add_argument("--environment", type=Path, help="the rivals' environment, made there and kept")
    parser.add_argument("--out", type=Path, default=Path("time_to_front.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    budgets_s = budgets(asked.seconds)
    with tempfile.TemporaryDirectory() as folder:
        python = environment(asked.environment or Path(folder) / "environment")
        task = Task(
            root=unpacked(asked.root, Path(folder)),
            train=10_000,
            validation=5_000,
            epochs=asked.epochs,
            trials=100_000,  # time ends it
            seconds=budgets_s[""],
            slots=asked.slots,
            space=SPACE,
            own_space=OWN_SPACE,
        )
        swapped = asked.rivals if asked.swapped is None else asked.swapped
        systems = [(name, "stock") for name in asked.rivals] + [(name, "ours") for name in swapped]
        traces: list[Trace] = []
        told: dict[str, Any] = {"machine": machine(python), "traces": []}

        def done(trace: Trace) -> None:
            traces.append(trace)
            told["traces"].append({**vars(trace), "epochs": [vars(e) for e in trace.epochs]})
            save(asked.out, told)  # the runs are long: they stay, whatever becomes of the rest
            show_run(trace)

        for repeat in range(asked.repeats):
            done(run_ours(task, repeat=repeat))
            for name, training in systems:
                given = replace(task, seconds=budgets_s.get(name, task.seconds))
                done(run_rival(name, python, given, repeat=repeat, training=training))
        keys = sorted({timed_by(trace.system, e.config) for trace in counted(traces) for e in trace.epochs}, key=repr)
        alone_s = all_alone(keys, python, task)
        told["alone_s"] = [{"key": key, "epoch_s": seconds} for key, seconds in alone_s.items()]
        save(asked.out, told)
    rows = table(traces, alone_s)
    save(asked.out, {**told, "table": rows})
    show(rows)


def budgets(asked: Sequence[str]) -> dict[str, float]:
    """Seconds by rival; "" is that of all others."""
    pairs = [("", one) if "=" not in one else tuple(one.split("=", 1)) for one in asked]
    return {"": 300.0} | {name: float(seconds) for name, seconds in pairs}


def show_run(trace: Trace) -> None:
    in_time = sum(len(run.epochs) for run in counted([trace]))
    told = {"repeat": trace.repeat, "system": trace.system, "exit code": trace.exit_code}
    show([{**told, "points": len(trace.epochs), "that count": in_time}])


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one run came to, held against the best front of its repeat."""

    share: float  # of that front's hypervolume, at the end
    at_s: Mapping[float, float]  # by level, from the command; infinite where it never came there
    budget_s: float


def reached(traces: Sequence[Trace], alone_s: Mapping[tuple[Any, ...], float]) -> dict[str, dict[int, Reached]]:
    """By system and repeat; the runs that count alone."""
    found: dict[str, dict[int, Reached]] = {}
    runs = counted(traces)
    for repeat in sorted({run.repeat for run in runs}):
        beside = [run for run in runs if run.repeat == repeat]
        points = [retimed(run, epoch, alone_s) for run in beside for epoch in run.epochs]
        if not points:
            raise SystemExit(f"repeat {repeat}: no system reported an epoch within its budget; give --seconds more")
        reference = reference_point(points, OBJECTIVES)
        whole = hypervolume(points, OBJECTIVES, reference)
        for run in beside:
            ended = hypervolume([retimed(run, epoch, alone_s) for epoch in run.epochs], OBJECTIVES, reference)
            at_s = {level: time_to(run, level * whole, reference, alone_s) for level in LEVELS}
            of_system = found.setdefault(run.system, {})
            of_system[repeat] = Reached(share=ended / whole, at_s=at_s, budget_s=run.budget_s)
    return found


def table(traces: Sequence[Trace], alone_s: Mapping[tuple[Any, ...], float]) -> list[dict[str, Any]]:
    """A row a system: what it found, and when; ratios are medians of those of each repeat in which neither failed.

    A run that never came to a level stands with its budget there, so a rival's such ratio is a lower bound (≥); where
    ours did not come there, an upper one or none at all, so none is given.
    """
    found = reached(traces, alone_s)
    own = found.get("tune_cnn", {})
    rows = []
    for system in dict.fromkeys(trace.system for trace in traces):
        asked = [trace for trace in traces if trace.system == system]
        runs = found.get(system, {})
        failed = len(asked) - len(runs)
        row: dict[str, Any] = {"system": system, "n": f"{len(runs)}" + (f", {failed} failed" if failed else "")}
        row |= {"budget": f"{asked[0].budget_s:.0f} s"}
        row["hypervolume at the end"] = spread([run.share for run in runs.values()], ".3f")
        for level in LEVELS:
            never = sum(run.at_s[level] == float("inf") for run in runs.values())
            capped = [min(run.budget_s, run.at_s[level]) for run in runs.values()]
            row[f"to {level:.0%}"] = spread(capped, ".0f", " s") + (f", {never} never" if never else "")
            row[f"× at {level:.0%}"] = ratio(runs, own, level)
        rows.append(row)
    return rows


def ratio(theirs: Mapping[int, Reached], own: Mapping[int, Reached], level: float) -> str:
    """Over the repeats that both have: either may have failed in one, or run fewer."""
    pairs = [(theirs[repeat], own[repeat]) for repeat in theirs if repeat in own]
    if any(mine.at_s[level] == float("inf") for _, mine in pairs):
        return "–"
    ratios = [min(their.budget_s, their.at_s[level]) / mine.at_s[level] for their, mine in pairs]
    bound = any(their.at_s[level] == float("inf") for their, _ in pairs)
    return f"{'≥ ' if bound else ''}{spread(ratios, '.1f')}"


def spread(values: Sequence[float], form: str, unit: str = "") -> str:
    """Median, lowest and highest."""
    if not values:
        return "–"
    return f"{statistics.median(values):{form}} ({min(values):{form}} … {max(values):{form}}){unit}"


if __name__ == "__main__":
    main()
