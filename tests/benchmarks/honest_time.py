"""Honest time: how far times searched side by side are from times alone, and how often a promise is kept.

    python tests/benchmarks/honest_time.py --out honest_time.json
    python tests/benchmarks/honest_time.py --trials 6 --points 2 --retrainings 4 --out small.json    # does it run?

One study, searched with `--slots` trials at a time and confirmed over `--seeds` seeds. (a) Each confirmed point's
searched times against its mean alone, and its searched accuracy against its mean. Both hold luck as well: what was
fast or accurate by chance is chosen. (b) The confirmed points in turn, exported and trained again by `tune-cnn train`
with seeds that nobody has used, until there are `--retrainings`: how often accuracy, test accuracy and times lie in the
95 % prediction intervals. Trainings of one point share its interval, so more points tell more than more trainings.
Needs a machine that does nothing else; other work shows in both. About 10 minutes on 2 cores.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from math import comb
from pathlib import Path
from typing import Any

from measured import machine, save, show, spread

TIMES = ("train_time_s", "total_time_s")
PROMISED = ("accuracy", "test_accuracy", *TIMES)
LEVEL = 0.95
FRESH_SEED = 1_500_000_000  # far from the seeds of trials, which count up from the study's


def spec_of(asked: argparse.Namespace) -> dict[str, Any]:
    data = {"name": asked.data} | ({"root": str(asked.root)} if asked.root else {})
    data |= {"subset": asked.subset} if asked.subset else {}
    return {
        "study": "honest",
        "data": data,
        "model": {"name": asked.model},
        "space": {
            "epochs": asked.epochs,
            "batch_size": [32, 64, 128, 256],
            "learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        },
        "resources": {"slots": asked.slots},
        "budget": {"trials": asked.trials},
        "confirm": {"points": asked.points, "seeds": asked.seeds},
    }


def command(folder: Path, *words: str) -> Any:
    """The document of a command; its progress goes to our stderr."""
    whole = [sys.executable, "-m", "tune_cnn", *words, "--json"]
    done = subprocess.run(whole, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def side_by_side(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """(a) From `front --json`, a row a confirmed point: times searched over times alone, and accuracy's difference."""
    searched = {(p["trial"], p["epoch"]): p["metrics"] for p in document["points"]}
    rows = []
    for one in document["confirmed"]:
        was, now = searched[one["trial"], one["epoch"]], one["metrics"]
        row = {"trial": one["trial"], "epoch": one["epoch"], "cotenants": was.get("cotenants")}
        row |= {f"{name} searched / alone": was[name] / now[name]["mean"] for name in TIMES}
        row["accuracy searched - mean"] = was["accuracy"] - now["accuracy"]["mean"]
        row |= {f"std of {name}, share": now[name]["std"] / now[name]["mean"] for name in TIMES}
        rows.append(row)
    return rows


def retrained(folder: Path, points: Sequence[tuple[int, int]], count: int) -> Iterator[dict[str, Any]]:
    """(b) A row a training by `train`: inside or outside, by what was promised."""
    for number, (trial, epoch) in enumerate(islice(cycle(points), count)):
        export = command(folder, "export", "honest", "--trial", str(trial), "--epoch", str(epoch))
        export["config"]["trial_seed"] = FRESH_SEED + number
        (folder / "again.json").write_text(json.dumps(export))
        result = command(folder, "train", "again.json", "-o", "again-model")
        inside = {name: held["inside"] for name, held in result["intervals"].items() if name in PROMISED}
        told = {part: {name: result[part][name] for name in PROMISED} for part in ("promised", "achieved")}
        sys.stderr.write(f"retraining {number + 1} of {count}: {inside}\n")
        shutil.rmtree(folder / "again-model")
        yield {"trial": trial, "epoch": epoch, "inside": inside, **told}


def coverage(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By metric: how many of the trainings lie inside, and how likely so few are if 95 % is the truth."""
    told = []
    for name in PROMISED:
        held = [row["inside"][name] for row in rows if name in row["inside"]]
        inside = sum(held)
        told.append(
            {
                "metric": name,
                "inside": inside,
                "of": len(held),
                "share": inside / max(1, len(held)),
                "so few or fewer, if 95 %": _at_most(inside, len(held)),
            }
        )
    return told


def _at_most(inside: int, of: int) -> float:
    return float(sum(comb(of, k) * LEVEL**k * (1 - LEVEL) ** (of - k) for k in range(inside + 1)))


def main() -> None:
    asked = command_line().parse_args()
    about = machine()
    found: dict[str, Any] = {"side_by_side": [], "retrainings": [], "coverage": []}

    def keep() -> None:
        save(asked.out, {"machine": about, "spec": spec_of(asked), **found})

    folder = Path(tempfile.mkdtemp(prefix="honest-"))
    try:
        (folder / "honest.yaml").write_text(json.dumps(spec_of(asked)))
        command(folder, "search", "honest.yaml")
        beside = found["side_by_side"] = side_by_side(command(folder, "front", "honest"))
        keep()
        for row in retrained(folder, [(row["trial"], row["epoch"]) for row in beside], asked.retrainings):
            found["retrainings"].append(row)
            found["coverage"] = coverage(found["retrainings"])
            keep()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = {name: [row[f"{name} searched / alone"] for row in beside] for name in TIMES}
    show(beside)
    show([{"searched / alone": name, "median (lowest … highest)": spread(values)} for name, values in ratios.items()])
    show(found["coverage"])


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root", type=lambda text: Path(text).absolute(), help="folder of the images")
    parser.add_argument("--subset", type=int, help="training images, where not all")
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--slots", type=int, default=2, help="trials at a time in the search")
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--retrainings", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("honest_time.json"))
    return parser


if __name__ == "__main__":
    main()
