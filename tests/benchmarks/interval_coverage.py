"""How often a fresh training lies in the 95 % prediction interval that a few seeds gave, over many points and seeds.

    python tests/benchmarks/interval_coverage.py --out interval_coverage.json

small_cnn on digits: `--configurations` drawn at random, each trained over `--seeds` seeds, one after another in this
process; every epoch is a point. Then so many seeds of a point, drawn at random, promise, and another one is held
against the promise, again and again. honest_time.py asks the same of the whole path of commands, in a few trainings
that share their intervals; this asks it of the interval alone. About 5 minutes on one core.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measured import machine, save, show

from tune_cnn.front.prediction import predict
from tune_cnn.metrics import METRICS
from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining

METRIC_NAMES = ("accuracy", "train_time_s")
DRAWS = 400  # of seeds from each point
FIRST_SEED = 1000


def trained(
    configurations: list[Configuration], seeds: int, done: Callable[[np.ndarray], None]
) -> tuple[np.ndarray, int]:
    """(configuration, seed, epoch, metric), and how many images an accuracy is of.

    `done` is told those of all configurations so far, after each of them.
    """
    epochs = configurations[0].epochs
    values_csem = np.empty((len(configurations), seeds, epochs, len(METRIC_NAMES)))
    images = 0
    with tempfile.TemporaryDirectory() as folder:
        rank = RankTraining()
        rank.join(ranks=1, init_method=f"file://{folder}/group", cuda=False)
        for c, configuration in enumerate(configurations):
            for s in range(seeds):
                rank.begin(
                    TrainingJob(
                        trial=0,
                        configuration=configuration,
                        data=DataSpec(name="digits"),
                        model=ModelSpec(name="small_cnn"),
                        seed=FIRST_SEED + s,
                        cache_dir=f"{folder}/cache",
                    )
                )
                for e in range(epochs):
                    metrics = rank.train_epoch().metrics
                    values_csem[c, s, e] = [metrics[name] for name in METRIC_NAMES]
                assert rank._trial is not None
                images = len(rank._trial.context.images.validation)
                rank.end()
            done(values_csem[: c + 1])
    return values_csem, images


def covered(values_pf: np.ndarray, name: str, runs: int, resolution: float, rng: np.random.Generator) -> dict[str, Any]:
    """Over points p, whose seeds f are fresh: how often one of them lies where `runs` others say."""
    inside = widths = 0.0
    for values_f in values_pf:
        for _ in range(DRAWS):
            drawn = rng.permutation(values_f)[: runs + 1].tolist()
            promised = predict(drawn[:-1], METRICS[name], resolution=resolution)
            inside += bool(promised.holds(drawn[-1]))
            assert promised.low is not None and promised.high is not None
            widths += promised.high - promised.low
    count = len(values_pf) * DRAWS
    return {"inside": f"{inside / count:.1%}", "mean width": widths / count}


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--runs", type=int, nargs="*", default=[2, 3, 5], help="seeds that promise")
    parser.add_argument("--out", type=Path, default=Path("interval_coverage.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    about, rng = machine(), np.random.default_rng(0)
    configurations = [
        Configuration(
            epochs=asked.epochs,
            batch_size=int(rng.choice([32, 64, 128, 256])),
            learning_rate=float(10 ** rng.uniform(-2, -0.5)),
        )
        for _ in range(asked.configurations)
    ]
    rows: list[dict[str, Any]] = []

    def keep(values_csem: np.ndarray) -> None:
        save(asked.out, {"machine": about, "table": rows, "values": values_csem.tolist()})

    values_csem, images = trained(configurations, asked.seeds, keep)
    for m, name in enumerate(METRIC_NAMES):
        resolution = 1 / images if name == "accuracy" else 0.0
        for runs in asked.runs:
            for which, epochs in (("first epochs", slice(0, 1)), ("later epochs", slice(1, None))):
                values_pf = values_csem[:, :, epochs, m].transpose(0, 2, 1).reshape(-1, asked.seeds)
                found = covered(values_pf, name, runs, resolution, rng)
                rows.append({"metric": name, "seeds": runs, "points": which, "of": len(values_pf), **found})
    keep(values_csem)
    show(rows)


if __name__ == "__main__":
    main()
