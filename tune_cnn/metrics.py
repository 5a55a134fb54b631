"""The table of metrics: name, unit, direction, how ranks are joined, and where each can be measured."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from tune_cnn.errors import SpecError, nearest
from tune_cnn.untyped import Plain


class Direction(StrEnum):
    MAX = "max"
    MIN = "min"


class Reduce(StrEnum):
    """How a metric of several ranks becomes one."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    SAME = "same"  # known to be equal on all ranks, or already reduced: rank 0's value


class Where(StrEnum):
    """The hardware without which a metric is absent (never zero)."""

    ANYWHERE = "anywhere"
    CUDA = "cuda"
    WHOLE_GPU = "whole_gpu"  # NVML counts a device, so a shared device tells nothing of one trial


class Scale(StrEnum):
    """How hypervolume and knee see a metric."""

    ERROR = "error"  # 1 - value: a share of correct answers
    LOG = "log"  # positive quantities over decades: times, energy, sizes
    LINEAR = "linear"


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    unit: str
    direction: Direction
    reduce: Reduce
    where: Where = Where.ANYWHERE
    scale: Scale = Scale.LINEAR
    meaning: str


def _table(*rows: tuple[str, str, Direction, Reduce, Where, Scale, str]) -> dict[str, Metric]:
    return {
        name: Metric(name=name, unit=unit, direction=to, reduce=over, where=where, scale=scale, meaning=meaning)
        for name, unit, to, over, where, scale, meaning in rows
    }


_MAX, _MIN = Direction.MAX, Direction.MIN
_SUM, _MEAN, _MOST, _SAME = Reduce.SUM, Reduce.MEAN, Reduce.MAX, Reduce.SAME
_ANY, _CUDA, _WHOLE = Where.ANYWHERE, Where.CUDA, Where.WHOLE_GPU
_ERR, _LOG, _LIN = Scale.ERROR, Scale.LOG, Scale.LINEAR

# Measured by confirming and training alone, on the test split: reported, never chosen by.
TEST = ("test_accuracy", "test_loss")
SYSTEM = "system/"  # begins the names of what is measured by node and GPU, beside the metrics of the table

METRICS: dict[str, Metric] = _table(
    ("accuracy", "1", _MAX, _SAME, _ANY, _ERR, "share of validation images classified correctly"),
    (
        "balanced_accuracy",
        "1",
        _MAX,
        _SAME,
        _ANY,
        _ERR,
        "mean over the classes of the share of their validation images classified correctly",
    ),
    ("val_loss", "nat", _MIN, _SAME, _ANY, _LOG, "mean cross-entropy on the validation split"),
    ("train_loss", "nat", _MIN, _SAME, _ANY, _LOG, "mean of the loss that is trained on, class weights in it"),
    ("train_time_s", "s", _MIN, _MOST, _ANY, _LOG, "first to last training step: no evaluation, checkpoints, start"),
    ("total_time_s", "s", _MIN, _MOST, _ANY, _LOG, "data ready to weights saved, everything in it"),
    ("eval_time_s", "s", _MIN, _MOST, _ANY, _LOG, "evaluation on the validation split"),
    ("compile_time_s", "s", _MIN, _MOST, _ANY, _LOG, "first compile and device warm-up, before the clock"),
    (
        "compile_cached_pct",
        "%",
        _MAX,
        _MEAN,
        _ANY,
        _LIN,
        "compiled code found in the node's cache: 100 is warm",
    ),
    ("loader_start_s", "s", _MIN, _MOST, _ANY, _LOG, "starting the loader workers, before the clock"),
    ("checkpoint_time_s", "s", _MIN, _MOST, _ANY, _LOG, "writing checkpoints"),
    ("data_wait_s", "s", _MIN, _MEAN, _ANY, _LOG, "time the training loop waited for its next batch"),
    ("step_time_ms", "ms", _MIN, _MOST, _ANY, _LOG, "training time per step in the last epoch"),
    ("images_per_s", "1/s", _MAX, _SUM, _ANY, _LOG, "training images per second of training time, all ranks"),
    ("peak_memory_mib", "MiB", _MIN, _MOST, _ANY, _LOG, "peak of the device allocator; on a CPU, resident memory"),
    ("gpu_util_pct", "%", _MAX, _MEAN, _WHOLE, _LIN, "share of time with a kernel running (NVML)"),
    ("sm_active_pct", "%", _MAX, _MEAN, _WHOLE, _LIN, "share of SMs with a warp resident (NVML GPM)"),
    ("gpu_energy_j", "J", _MIN, _SUM, _WHOLE, _LOG, "energy of the trial's GPUs while training"),
    ("gpu_seconds", "s", _MIN, _SUM, _CUDA, _LOG, "GPU share times training time: the price of a fraction"),
    ("cost", "1", _MIN, _SAME, _CUDA, _LOG, "of the trial's GPUs while training, by `prices`: energy, hours or both"),
    ("carbon_g", "g", _MIN, _SAME, _WHOLE, _LOG, "CO2 equivalent of gpu_energy_j, by prices.carbon_g_per_kwh"),
    ("captured_pct", "%", _MAX, _MEAN, _CUDA, _LIN, "training steps of the last epoch replayed as a CUDA graph"),
    ("cpu_util_pct", "%", _MAX, _SUM, _ANY, _LIN, "CPU time of ranks and loader workers per second of training"),
    ("cotenants", "1", _MIN, _SAME, _ANY, _LIN, "other trials on the same hardware meanwhile"),
    ("parameters", "1", _MIN, _SAME, _ANY, _LOG, "learned numbers in the model"),
    (
        "simulated_parameters",
        "1",
        _MIN,
        _SAME,
        _ANY,
        _LOG,
        "learned numbers that pruning has not set to zero: only hardware that skips zeros gains by it",
    ),
    ("train_gflops", "GFLOP", _MIN, _SAME, _ANY, _LOG, "arithmetic spent on training so far"),
    (
        "skippable_train_gflops",
        "GFLOP",
        _MAX,
        _SUM,
        _ANY,
        _LOG,
        "simulated: training arithmetic on zeros, which no ordinary hardware skips",
    ),
    ("inference_gflops", "GFLOP", _MIN, _SAME, _ANY, _LOG, "arithmetic of one image's forward pass"),
    ("skipped_steps", "1", _MIN, _SAME, _ANY, _LIN, "fp16 steps skipped by loss scaling"),
    ("grad_underflow_pct", "%", _MIN, _MEAN, _ANY, _LIN, "fp16 gradients that became zero by underflow"),
)


def user_metric(name: str, *, unit: str, direction: str, call: str | None) -> Metric:
    """A metric that the user's own function or training measures; already one value for all ranks."""
    meaning = f"by {call or 'your own training'}"
    return Metric(name=name, unit=unit, direction=Direction(direction), reduce=Reduce.SAME, meaning=meaning)


def metric(name: str, extra: Mapping[str, Metric] | None = None, *, where: str = "objectives") -> Metric:
    """Look a metric up in the table and in the user's own ones."""
    known = {**METRICS, **(extra or {})}
    if name not in known:
        raise SpecError(f"{where}: unknown metric {name!r}{nearest(name, known)}")
    return known[name]


@dataclass(frozen=True, kw_only=True)
class EpochPoint:
    """What a trial is worth after one of its epochs: a model that one could have stopped at."""

    trial: int
    epoch: int  # epochs trained so far, from 1
    metrics: Mapping[str, float] = field(default_factory=dict)


class _OfTrial(Protocol):
    @property
    def trial(self) -> int: ...


_T = TypeVar("_T", bound=_OfTrial)


def by_trial(points: Iterable[_T]) -> dict[int, list[_T]]:
    """Points by the number of their trial, each trial's in the order in which they came."""
    groups: dict[int, list[_T]] = {}
    for point in points:
        groups.setdefault(point.trial, []).append(point)
    return groups


def last_points(points: Iterable[EpochPoint]) -> dict[int, EpochPoint]:
    """The point of each trial's last epoch, by the trial's number."""
    return {trial: max(mine, key=lambda point: point.epoch) for trial, mine in by_trial(points).items()}


def unusable(metrics: Mapping[str, Plain], names: list[str]) -> str | None:
    """Why these metrics can't stand for the objectives (missing, NaN, infinite), or None where they can."""
    for name in names:
        value = metrics.get(name)
        if value is None:
            return f"{name} is missing"
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None


def metrics_table() -> str:
    """The table of metrics for search_spaces/README.md, as Markdown."""
    needs = {Where.ANYWHERE: "anywhere", Where.CUDA: "on a GPU", Where.WHOLE_GPU: "on a GPU of its own"}
    cells = [
        (m.name, "" if m.unit == "1" else m.unit, m.direction, m.reduce, needs[m.where], m.meaning)
        for m in METRICS.values()
    ]
    rows = ["| " + " | ".join(row) + " |" for row in cells]
    head = ["| metric | unit | better | over ranks | where | meaning |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"
