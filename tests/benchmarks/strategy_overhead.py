"""What each strategy costs a training step, before anything that it saves: CPU time of an epoch with it and without.

    python tests/benchmarks/strategy_overhead.py --root ROOT_OF_FASHION_MNIST
    python tests/benchmarks/strategy_overhead.py --root ROOT --only s3pool,weight_norm --repeats 3

resnet20 with max pooling, batches of 64, one thread. Each repeat is a seed and trains all by turns, in an order of its
own. Times are the CPU's, which other work on the machine touches little, and ratios are taken within a repeat. The
knobs are those of the recipe `strategies`, the first value of each. The epoch is the second of three: a strategy that
acts later shows what waiting for it costs, one that leaves images or work out shows that too.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measured import machine, save, show, spread

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration, ModelSpec, StudySpec, load_spec
from tune_cnn.spec.configuration import STRATEGIES, is_strategy, strategy_and_knob
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of

OFF = "off"
EPOCH, OF = 2, 3  # whose steps are measured, and the horizon
Params = dict[str, Any]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=800, help="a fifth of them is for validation")
    parser.add_argument("--only", default="", metavar="NAME[,NAME…]", help="these strategies alone")
    parser.add_argument("--out", type=Path, default=Path("strategy_overhead.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    told = machine()
    spec = load_spec("strategies", [f"data.root={asked.root}", f"data.subset={asked.images}", "data.validation=0.2"])
    variants = {OFF: without(spec)} | {
        name: without(spec) | knobs
        for name, knobs in alone(spec).items()
        if not asked.only or name in asked.only.split(",")
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    rank = RankTraining()
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(asked.repeats):
            for name in random.Random(seed).sample(list(variants), len(variants)):
                seconds[name].append(cpu_s(rank, spec, variants[name], seed, cache))
                sys.stderr.write(f"seed {seed}: {name}: {seconds[name][-1]:.2f} s\n")
    found = {name: [one / off for one, off in zip(seconds[name], seconds[OFF], strict=True)] for name in seconds}
    save(asked.out, {"machine": told, "seconds": seconds})
    show(
        [
            {"strategy": name, "CPU of an epoch, × off": spread(found[name])}
            for name in sorted(found, key=lambda name: median(found[name]))
            if name != OFF
        ]
    )


def without(spec: StudySpec) -> Params:
    """The recipe's fixed values and the first of all others, in the setting of this benchmark."""
    own = {key: dimension.ends[0] for key, dimension in spec.space.items() if not key.startswith(STRATEGIES)}
    return {**own, "epochs": OF, "schedule": "cosine", "learning_rate": 0.005}  # one that all can bear


def alone(spec: StudySpec) -> dict[str, Params]:
    """Each strategy of the recipe with the first values of its knobs, beside what it needs."""
    names = [strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)]
    cards = cards_of(names)
    knobs = {k: d.ends[0] for k, d in spec.space.items() if k.startswith(STRATEGIES) and not is_strategy(k)}
    return {
        name: {
            **{STRATEGIES + one: True for one in (*sorted(cards[name].needs), name)},
            **{k: v for k, v in knobs.items() if strategy_and_knob(k)[0] == name},
        }
        for name in names
    }


def cpu_s(rank: RankTraining, spec: StudySpec, params: Params, seed: int, cache: str) -> float:
    """CPU seconds of the measured epoch's training, evaluation not among them."""
    job = TrainingJob(
        trial=0,
        configuration=Configuration.from_params(params),
        data=spec.data,
        model=ModelSpec(name="resnet20"),
        seed=seed,
        split_seed=spec.seed,
        cache_dir=cache,
    )
    spent = []
    try:
        rank.begin(job)
        for _ in range(EPOCH):
            result = rank.train_epoch()
            assert isinstance(result, EpochResult), "nobody leaves the epoch"
            spent.append(result.metrics["train_time_s"] * result.metrics["cpu_util_pct"] / 100)
    except TrialError as error:
        raise SystemExit(f"{params}: {error}") from error
    finally:
        rank.end()
    return float(spent[-1] - spent[-2])


if __name__ == "__main__":
    main()
