"""What each strategy costs a training step, before anything that it saves: CPU time of an epoch with it and without.

    python tests/benchmarks/strategy_overhead.py --root ROOT_OF_FASHION_MNIST
    python tests/benchmarks/strategy_overhead.py --root ROOT --only s3pool,weight_norm --width 16

resnet20 with max pooling, batches of 64, one thread. Each repeat is a seed and trains all by turns, in an order of its
own. Times are the CPU's, which other work on the machine touches little. The plain training has some turns in each
repeat, and ratios are those to their median. The knobs are those of the recipe `strategies`, the first value of each.

The epoch is the second of three: a strategy that acts later shows what waiting for it costs. One that changes the work
by design, as it leaves out images, steps or layers, shows that in the counted arithmetic of the same epoch. A strategy
that comes with tune_cnn and that the recipe lacks is refused.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measured import machine, save, show, spread

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration, ModelSpec, StudySpec, load_spec
from tune_cnn.spec.configuration import STRATEGIES, is_strategy, strategy_and_knob
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies

OFF = "off"
EPOCH, OF = 2, 3  # whose steps are measured, and the horizon
OFF_TURNS = 4  # of a repeat: what all are held against is to vary less than they do
Params = dict[str, Any]


class Spent(NamedTuple):
    """Of an epoch's training, or of all epochs so far."""

    cpu_s: float
    gflop: float  # counted, penalties and looks at images among it


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=400, help="a fifth of them is for validation")
    parser.add_argument("--width", type=int, default=8, help="filters of the first stage; He et al. have 16")
    parser.add_argument("--only", default="", metavar="NAME[,NAME…]", help="these strategies alone")
    parser.add_argument("--out", type=Path, default=Path("strategy_overhead.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    told = machine()
    settings = [f"data.root={asked.root}", f"data.subset={asked.images}", "data.validation=0.2"]
    spec = load_spec("strategies", [*settings, f"space.model.width={asked.width}"])
    variants = {OFF: without(spec)} | {
        name: without(spec) | knobs
        for name, knobs in alone(spec).items()
        if not asked.only or name in asked.only.split(",")
    }
    order = [OFF] * OFF_TURNS + [name for name in variants if name != OFF]
    seen: dict[str, list[list[Spent]]] = {name: [] for name in variants}  # by repeat and turn
    rank = RankTraining()
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(asked.repeats):
            for repeats in seen.values():
                repeats.append([])
            for name in random.Random(seed).sample(order, len(order)):
                seen[name][-1].append(spent(rank, spec, variants[name], seed, cache))
                sys.stderr.write(f"seed {seed}: {name}: {seen[name][-1][-1].cpu_s:.2f} s\n")
            save(asked.out, {"machine": told, "seen": seen})
    found = {name: ratios(seen[name], seen[OFF]) for name in seen if name != OFF}
    show([shown(name, *found[name]) for name in sorted(found, key=lambda name: median(found[name][0]))])


def ratios(repeats: list[list[Spent]], off: list[list[Spent]]) -> tuple[list[float], list[float]]:
    """CPU time and counted arithmetic of each repeat, over those of the plain training of the same seed."""
    plain = [(median(turn.cpu_s for turn in turns), turns[0].gflop) for turns in off]
    pairs = [(one, cpu_s, gflop) for (one,), (cpu_s, gflop) in zip(repeats, plain, strict=True)]
    return [one.cpu_s / cpu_s for one, cpu_s, _ in pairs], [one.gflop / gflop for one, _, gflop in pairs]


def shown(name: str, cpu: list[float], work: list[float]) -> dict[str, str]:
    needed = sorted(cards_of([name])[name].needs)
    return {
        "strategy": " with ".join([name, *needed]),
        "CPU time, × off": spread(cpu),
        "counted arithmetic, × off": f"{median(work):.2f}",
    }


def without(spec: StudySpec) -> Params:
    """The recipe's fixed values and the first of all others, in the setting of this benchmark."""
    own = {key: dimension.ends[0] for key, dimension in spec.space.items() if not key.startswith(STRATEGIES)}
    return {**own, "epochs": OF, "schedule": "cosine", "learning_rate": 0.005}  # one that all can bear


def alone(spec: StudySpec) -> dict[str, Params]:
    """Each strategy of the recipe with the first values of its knobs, beside what it needs."""
    names = [strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)]
    if missing := set(find_strategies()) - set(names):
        raise SystemExit(f"the recipe `strategies` lacks {', '.join(sorted(missing))}: put them and their knobs there")
    cards = cards_of(names)
    knobs = {k: d.ends[0] for k, d in spec.space.items() if k.startswith(STRATEGIES) and not is_strategy(k)}
    return {
        name: {
            **{STRATEGIES + one: True for one in (*sorted(cards[name].needs), name)},
            **{k: v for k, v in knobs.items() if strategy_and_knob(k)[0] == name},
        }
        for name in names
    }


def spent(rank: RankTraining, spec: StudySpec, params: Params, seed: int, cache: str) -> Spent:
    """What the measured epoch's training takes, evaluation not among it."""
    job = TrainingJob(
        trial=0,
        configuration=Configuration.from_params(params),
        data=spec.data,
        model=ModelSpec(name="resnet20"),
        seed=seed,
        split_seed=spec.seed,
        cache_dir=cache,
    )
    so_far = []
    try:
        rank.begin(job)
        for _ in range(EPOCH):
            result = rank.train_epoch()
            assert isinstance(result, EpochResult), "nobody leaves the epoch"
            told = result.metrics
            cpu_s = told["train_time_s"] * told["cpu_util_pct"] / 100
            so_far.append(Spent(cpu_s=cpu_s, gflop=told["train_gflops"]))
    except TrialError as error:
        raise SystemExit(f"{params}: {error}") from error
    finally:
        rank.end()
    before, after = so_far[-2:]
    return Spent(cpu_s=after.cpu_s - before.cpu_s, gflop=after.gflop - before.gflop)


if __name__ == "__main__":
    main()
