"""Each strategy alone, on and off at the same budget, then the winners together: a Markdown table and a JSON file.

    python tests/benchmarks/strategies_table.py --root ROOT_OF_FASHION_MNIST
    python tests/benchmarks/strategies_table.py … --repeats 2 --set data.subset=400 --set space.epochs=2   # try it

Setting and knobs are those of the recipe `strategies`; where it lists several values of a knob, each is a row. One
training at a time, on one thread; the rows take turns within a repeat, which is a seed, in an order of its own, so that
what else the machine does hits all of them. Each training is noted in the journal as it ends: the same command goes on
where it was stopped. Combinations are chosen by validation accuracy and CPU time (on a GPU: seconds), not by the test
set.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

from measured import machine, save

from tune_cnn.errors import TrialError
from tune_cnn.front.prediction import student_quantile
from tune_cnn.spec import Configuration, StudySpec, load_spec
from tune_cnn.spec.configuration import STRATEGIES, is_strategy, strategy_and_knob
from tune_cnn.spec.strategies import check_strategies, conflict
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of

OFF = "off"
LEVEL = 0.95
SHARED = 1.2  # seconds over CPU seconds from which on a thread has shared its core with others
Params = dict[str, Any]
Row = tuple[str, ...]  # the variants that are on
Runs = Mapping[int, Mapping[str, float]]  # metrics by seed


def base_of(spec: StudySpec) -> Params:
    """The space's fixed values, and the first of all others, without strategies."""
    own = {key: dimension for key, dimension in spec.space.items() if not key.startswith(STRATEGIES)}
    return {key: dimension.ends[0] for key, dimension in own.items()}


def variants_of(spec: StudySpec) -> dict[str, Params]:
    """Every strategy of the space, with every combination of its knobs' listed values, by a name that tells them. What
    one needs is on beside it."""
    names = [strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)]
    cards = cards_of(names)
    space = check_strategies(spec.space, cards)
    found: dict[str, Params] = {}
    for name in names:
        own = {k: d for k, d in space.items() if k.startswith(f"{STRATEGIES}{name}.")}
        knobs = {k: d.values if d.is_listed else (d.smallest,) for k, d in own.items()}
        for values in product(*knobs.values()):
            params = dict(zip(knobs, values, strict=True))
            told = [f"{k.rpartition('.')[2]}={v}" for k, v in params.items() if len(knobs[k]) > 1]
            needed = {STRATEGIES + other: True for other in sorted(cards[name].needs)}
            found[f"{name} ({', '.join(told)})" if told else name] = {**needed, STRATEGIES + name: True, **params}
    return found


def strategy_of(variant: str) -> str:
    return variant.partition(" ")[0]


def go_together(row: Sequence[str]) -> bool:
    cards = cards_of([strategy_of(variant) for variant in row])
    return all(
        strategy_of(a) != strategy_of(b) and conflict(cards[strategy_of(a)], cards[strategy_of(b)]) is None
        for a, b in combinations(row, 2)
    )


def winners_together(won: Mapping[str, tuple[float, float]]) -> list[Row]:
    """Up to three combinations, of what won something: the two most accurate, the fastest with the most accurate, and
    as many as go together, the most accurate first.

    won: by variant, what it adds to the validation accuracy, and its time as a share of that without it. One that
    another beats in both, or that wins neither, takes no part.
    """
    best = {
        name: (gain, ratio)
        for name, (gain, ratio) in won.items()
        if (gain > 0 or ratio < 1) and not any(g > gain and r < ratio for g, r in won.values())
    }
    by_gain = sorted(best, key=lambda name: -best[name][0])
    by_time = sorted(best, key=lambda name: best[name][1])
    accurate = [pair for pair in combinations(by_gain, 2) if go_together(pair)]
    fast = [(by_time[0], good) for good in by_gain if good != by_time[0] and go_together((by_time[0], good))]
    found: list[Row] = [*accurate[:1], *fast[:1]]
    whole: list[str] = []
    for name in by_gain:
        if go_together([*whole, name]):
            whole.append(name)
    found += [tuple(whole)] if len(whole) > 1 else []
    return list({frozenset(row): row for row in found}.values())


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % confidence interval; infinite for one value."""
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return mean, math.inf
    quantile = student_quantile(0.5 + LEVEL / 2, count - 1)
    return mean, quantile * statistics.stdev(values) / math.sqrt(count)


def gained(runs: Runs, off: Runs) -> list[float]:
    """Validation accuracy over that of the same seed without."""
    return [runs[seed]["accuracy"] - off[seed]["accuracy"] for seed in runs if seed in off]


def time_ratios(runs: Runs, off: Runs) -> list[float]:
    """Of the same seed: CPU time, which other work on the machine hardly touches; on a GPU, seconds."""
    key = "train_time_s" if any("on_gpu" in run for run in off.values()) else "train_cpu_s"
    return [runs[seed][key] / off[seed][key] for seed in runs if seed in off]


def markdown(rows: Mapping[Row, Runs]) -> str:
    """A row a strategy; ± is half of the 95 % confidence interval of the mean, × the time without strategies."""
    head = "strategies on|validation accuracy %|over off, points|test accuracy %|training time s|CPU s|× off|images/s|"
    head += "parameters|training GFLOP|runs"
    lines = [f"| {' | '.join(head.split('|'))} |", "|---|" + "---:|" * head.count("|")]
    off = rows[()]
    for row, runs in rows.items():
        name = " + ".join(row) or OFF
        if not runs:
            lines.append(f"| {name} | failed |" + " |" * (head.count("|") - 1))
            continue
        of = {key: [run[key] for run in runs.values()] for key in next(iter(runs.values()))}
        ratio, around = interval([math.log(ratio) for ratio in time_ratios(runs, off)])
        low, high = math.exp(ratio - around), math.exp(min(ratio + around, 99))
        cells = [
            name,
            told([100 * value for value in of["accuracy"]], 1),
            told([100 * value for value in gained(runs, off)], 1, "+") if row else "",
            told([100 * value for value in of["test_accuracy"]], 1),
            told(of["train_time_s"], 1),
            told(of["train_cpu_s"], 1),
            f"{math.exp(ratio):.2f} ({low:.2f} … {high:.2f})" if row else "",
            told(of["images_per_s"], 0),
            told(of["parameters"], 0),
            told(of["train_gflops"], 0),
            str(len(runs)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def told(values: Sequence[float], digits: int, sign: str = "") -> str:
    mean, around = interval(values)
    shown = f"{mean:{sign},.{digits}f}"
    return shown if around == 0 or math.isinf(around) else f"{shown} ± {around:,.{digits}f}"


def section(found: Mapping[Row, Runs], told_machine: Mapping[str, Any], spec: StudySpec, repeats: int) -> str:
    """The table with what must be known to read it, for the README."""
    base = base_of(spec)
    on_gpu = any("on_gpu" in run for run in found[()].values())
    slowed = statistics.median(
        run["train_time_s"] / run["train_cpu_s"] for runs in found.values() for run in runs.values()
    )
    noise = (
        f"; the machine had other work, and seconds are {slowed:.1f} times the CPU's"
        if slowed > SHARED and not on_gpu
        else ""
    )
    where = told_machine["gpus"][0] if on_gpu else f"one thread of {told_machine['cpu']}"
    return (
        f"{spec.model.name} with {base['model.width']} filters, {spec.data.subset:,} images of {spec.data.name} ("
        f"{spec.data.validation:.0%} of them for validation), {base['epochs']} epochs at batches of "
        f"{base['batch_size']}; {repeats} seeds, {where}, torch "
        f"{told_machine['versions']['torch']}. ± is half of a 95 % confidence interval of the mean; gains and ratios "
        f"are of pairs with the same seed{noise}.\n\n{markdown(found)}"
    )


def write_between_marks(readme: Path, text: str) -> None:
    content = readme.read_text(encoding="utf-8")
    before, start, rest = content.partition("<!-- strategies table -->\n")
    _, end, after = rest.partition("<!-- /strategies table -->")
    if not (start and end):
        sys.exit(f"{readme}: has no marks of the strategies table")
    readme.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


class Bench:
    """Trains rows, and remembers in the journal."""

    def __init__(self, spec: StudySpec, journal: Path, *, gpu: bool = False) -> None:
        self._spec, self._journal, self._gpu = spec, journal, gpu
        self._variants = variants_of(spec)
        self._rank = RankTraining()
        journal.parent.mkdir(parents=True, exist_ok=True)
        setting = {"data": spec.data.model_dump(mode="json", exclude={"root"}), "base": base_of(spec)}
        setting |= {"model": spec.model.model_dump(mode="json"), "variants": self._variants}
        setting |= {"gpu": True} if gpu else {}
        if not journal.exists():
            self._note(setting)
        self._lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        if self._lines.pop(0) != json.loads(json.dumps(setting)):
            sys.exit(f"{journal}: holds another setting; name another --journal, or go on with the same --set")

    def runs(self, row: Row) -> dict[int, dict[str, float]]:
        """Those that ended well."""
        own = (line for line in self._lines if tuple(line["row"]) == row and "failed" not in line)
        return {line["seed"]: line["metrics"] for line in own}

    def train(self, rows: Sequence[Row], repeats: int) -> None:
        """What the journal lacks; a seed at a time."""
        done = {(tuple(line["row"]), line["seed"]) for line in self._lines}
        for seed in range(repeats):
            for row in random.Random(seed).sample(list(rows), len(rows)):
                if (row, seed) not in done:
                    self._train(row, seed)

    def _train(self, row: Row, seed: int) -> None:
        params = base_of(self._spec)
        for variant in row:
            params |= self._variants[variant]
        job = TrainingJob(
            trial=0,
            configuration=Configuration.from_params(params),
            data=self._spec.data,
            model=self._spec.model,
            seed=seed,
            split_seed=self._spec.seed,
            cache_dir=str(self._journal.parent / "cache"),
            gpu_share=1.0 if self._gpu else 0.0,
        )
        line: dict[str, Any] = {"row": row, "seed": seed}
        try:
            self._rank.begin(job)
            while not (result := self._rank.train_epoch()).done:
                pass
            metrics = {**result.metrics, **self._rank.test()}
            metrics["train_cpu_s"] = metrics["train_time_s"] * metrics["cpu_util_pct"] / 100
            line["metrics"] = metrics | ({"on_gpu": 1.0} if self._gpu else {})
        except TrialError as error:
            line["failed"] = str(error)
        finally:
            self._rank.end()
        self._lines.append(json.loads(json.dumps(line)))
        self._note(line)
        outcome = line.get("failed") or f"accuracy {metrics['accuracy']:.3f} in {metrics['train_time_s']:.1f} s"
        sys.stderr.write(f"seed {seed}: {' + '.join(row) or OFF}: {outcome}\n")

    def _note(self, line: Mapping[str, Any]) -> None:
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--journal", type=Path, default=Path("strategies_table.jsonl"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE", help="of the spec")
    parser.add_argument("--gpu", action="store_true", help="train on the CUDA device")
    parser.add_argument("--out", type=Path, default=Path("strategies_table.json"))
    parser.add_argument("--readme", type=Path, help="put the table into this file, between its marks")
    return parser


def main() -> None:
    asked = command_line().parse_args()
    spec = load_spec("strategies", [f"data.root={asked.root}", *asked.changes])
    told_machine = machine()
    bench = Bench(spec, asked.journal, gpu=asked.gpu)
    rows: list[Row] = [(), *((variant,) for variant in variants_of(spec))]
    if {"net2net", "prunetrain"} <= {strategy_of(row[0]) for row in rows if row}:
        rows.append(("net2net", "prunetrain"))  # growing, then pruning: a method of its own
    bench.train(rows, asked.repeats)
    off = bench.runs(())
    won = {}
    for row in rows:
        if len(row) == 1 and (runs := bench.runs(row)):
            won[row[0]] = statistics.fmean(gained(runs, off)), statistics.geometric_mean(time_ratios(runs, off))
    together = [row for row in winners_together(won) if row not in rows]
    bench.train(together, asked.repeats)
    found = {row: bench.runs(row) for row in [*rows, *together]}
    table = markdown(found)
    runs_by_name = {" + ".join(row) or OFF: runs for row, runs in found.items()}
    save(asked.out, {"machine": told_machine, "spec": spec.model_dump(mode="json"), "runs": runs_by_name})
    asked.out.with_suffix(".md").write_text(table, encoding="utf-8")
    if asked.readme is not None:
        write_between_marks(asked.readme, section(found, told_machine, spec, asked.repeats))
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
