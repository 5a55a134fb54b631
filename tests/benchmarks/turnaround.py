"""Goal 1 of speed: how long a trial keeps a slot, against the ways a user would otherwise run the same search.

    python tests/benchmarks/turnaround.py --root ROOT_OF_FASHION_MNIST --repeats 3 --out turnaround.json

LeNet-5, 6,000 images, 2 epochs, fp32, batch size and learning rate searched. The systems take turns within each repeat.
Overhead: slots × wall / trials − mean training time, its clock started at the system's first training step.
wall_s and from_command_s end with the last epoch, to_exit_s with the command: with reports, shutting down, and MLflow,
which rivals tell as they train (r4 never) and tune_cnn's outbox has been told all by then.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from contest import RIVALS, Task, Trace, environment, run_ours, run_rival, side_by_side, unpacked
from measured import machine, save, show

SPACE = {"batch_size": [32, 64, 128, 256], "learning_rate": {"low": 0.005, "high": 0.5}}


def figures(trace: Trace, slots: int) -> dict[str, float]:
    trials = trace.trials
    wall_s = trace.ended_s - trace.first_step_s
    training_s = statistics.mean(epochs[-1].train_time_s for epochs in trials.values())
    return {
        "trials": len(trials),
        "wall_s": wall_s,
        "from_command_s": trace.ended_s - trace.started_s,
        "to_exit_s": trace.exited_s - trace.started_s,
        "training_s": training_s,
        "overhead_s": slots * wall_s / len(trials) - training_s,
        "side_by_side": side_by_side(trace),
    }


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--rivals", nargs="*", default=["r1", "r2", "r3"], choices=list(RIVALS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--environment", type=Path, help="the rivals' environment, made there and kept")
    parser.add_argument("--out", type=Path, default=Path("turnaround.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = environment(asked.environment or Path(folder) / "environment")
        task = Task(
            root=unpacked(asked.root, Path(folder)),
            train=6000,
            validation=1000,
            epochs=2,
            trials=asked.trials,
            seconds=36000,
            slots=asked.slots,
            space=SPACE,
            own_space={"loader": "device"},
        )
        about = machine(python)  # asks the rivals' environment, which goes with the folder
        found: dict[str, list[dict[str, float]]] = {}
        for repeat in range(asked.repeats):
            for name in ["tune_cnn", *asked.rivals]:
                # every trial to its end: stopping early would be another measurement (time_to_front.py)
                trace = (
                    run_ours(task, repeat=repeat, extra={"stopper": "none"})
                    if name == "tune_cnn"
                    else run_rival(name, python, task, repeat=repeat)
                )
                _check(trace, asked.out)
                found.setdefault(name, []).append(figures(trace, asked.slots))
                save(asked.out, {"machine": about, "runs": found, "table": table(found)})
                show([{"repeat": repeat, "system": name, **found[name][-1]}])
    show(table(found))


def _check(trace: Trace, out: Path) -> None:
    wrong = f"exit code {trace.exit_code}" if trace.exit_code else ""
    wrong = wrong or (f"MLflow was not told {trace.untold} changes" if trace.untold else "")
    if wrong:
        raise SystemExit(f"{trace.system}, repeat {trace.repeat}: {wrong}; what ran before it stays in {out}")


def table(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Medians with lowest and highest; the ratios are those of each repeat, to the median of them."""
    rows: list[dict[str, Any]] = []
    for name, runs in found.items():
        row: dict[str, Any] = {"system": name, "n": len(runs)}
        for key in ("wall_s", "from_command_s", "to_exit_s", "training_s", "overhead_s", "side_by_side"):
            values = [run[key] for run in runs]
            row[key] = f"{statistics.median(values):.2f} ({min(values):.2f} … {max(values):.2f})"
        for key in ("wall_s", "from_command_s", "to_exit_s"):
            # While a repeat runs, a rival's turn comes after ours.
            ratios = [run[key] / own[key] for run, own in zip(runs, found["tune_cnn"], strict=False)]
            row[f"× {key}"] = f"{statistics.median(ratios):.1f}"
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
