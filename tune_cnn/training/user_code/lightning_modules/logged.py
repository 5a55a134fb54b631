"""What a LightningModule logs in an epoch: averaged as Lightning does it, but always over all ranks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from tune_cnn.errors import TrialError
from tune_cnn.untyped import Untyped

# Where `self.log` may be called, and whether it is by step or by epoch there, unless it says so: Lightning's defaults.
BY_STEP = frozenset({
    "training_step", "backward", "optimizer_step", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "configure_gradient_clipping", "lr_scheduler_step", "on_train_batch_start",
    "on_train_batch_end",
})  # fmt: skip
BY_BATCH = frozenset({"validation_step", "on_validation_batch_start", "on_validation_batch_end"})
BY_EPOCH = frozenset({
    "on_train_epoch_start", "on_train_epoch_end", "on_validation_start", "on_validation_epoch_start",
    "on_validation_epoch_end",
})  # fmt: skip
REDUCTIONS: dict[Untyped, str] = {
    **{name: name for name in ("mean", "sum", "min", "max")},
    "avg": "mean", torch.mean: "mean", torch.sum: "sum", torch.min: "min", torch.max: "max",
}  # fmt: skip


@dataclass(kw_only=True)
class _Value:
    """One name in one hook. total: in float64 on the device, not yet waited for; by `how`, the mean's by weight."""

    hook: str
    how: str
    by_step: bool
    by_epoch: bool
    first_rank_only: bool
    last: Untyped = None
    total: Untyped = None
    weight: float = 0.0
    metric: Untyped = None  # of torchmetrics, which averages by itself


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """Values of an epoch by the names that they were logged under; equal on all ranks."""

    by_epoch: Mapping[str, float]
    by_step: Mapping[str, float]  # rank 0's last, of names that were logged by step alone

    @property
    def all(self) -> dict[str, float]:
        return {**self.by_step, **self.by_epoch}


class Logged:
    """Takes the place of `LightningModule.log` for one module and keeps the values of the running epoch."""

    def __init__(self, ranks: int) -> None:
        self.hook = ""  # that runs
        self.images = 1  # of the running batch: the weight of its mean
        self._ranks = ranks
        self._values: dict[str, _Value] = {}

    def log(
        self,
        name: str,
        value: Untyped,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Untyped = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Untyped = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Lightning's signature. Of the mean each batch has the weight of its images, or of `batch_size`.

        Values are joined over the ranks whether `sync_dist` is asked for or not, but for `rank_zero_only`; what is
        logged by step alone keeps rank 0's last. A metric of torchmetrics is computed at the epoch's end and reset.
        There is neither a progress bar nor a logger here, so `prog_bar`, `logger` and what tells them apart change
        nothing. TrialError where a name or a value can't be kept.
        """
        if self.hook not in BY_STEP | BY_BATCH | BY_EPOCH:
            raise TrialError(f"self.log({name!r}, …): can't be called in {self.hook or 'the constructor'}")
        by_step = self.hook in BY_STEP if on_step is None else on_step
        by_epoch = self.hook not in BY_STEP if on_epoch is None else on_epoch
        if reduce_fx not in REDUCTIONS:
            raise TrialError(f"self.log({name!r}, …): reduce_fx must be one of mean, sum, min, max, got {reduce_fx!r}")
        if sync_dist_group is not None:
            raise TrialError(f"self.log({name!r}, …): values are joined over all ranks; leave sync_dist_group out")
        kept = self._values.setdefault(
            name,
            _Value(
                hook=self.hook,
                how=REDUCTIONS[reduce_fx],
                by_step=by_step,
                by_epoch=by_epoch,
                first_rank_only=rank_zero_only,
            ),
        )
        if kept.hook != self.hook:
            raise TrialError(
                f"self.log({name!r}, …): was logged in {kept.hook} and is now in {self.hook}; "
                "give each a name of its own"
            )
        if hasattr(value, "compute") and hasattr(value, "reset"):
            kept.metric = value
        else:
            weight = batch_size if batch_size is not None else 1 if self.hook in BY_EPOCH else self.images
            _take(kept, _single(name, value), weight)

    def end(self) -> EpochLog:
        """The epoch's values, joined over the ranks; nothing of it is left. Called by all ranks alike."""
        mine = {name: _plain(name, kept) for name, kept in self._values.items()}
        self._values = {}
        of_ranks = gathered(mine, self._ranks)
        names = list(dict.fromkeys(name for values in of_ranks for name in values))
        joined = {name: _joined([values[name] for values in of_ranks if name in values]) for name in names}
        first = of_ranks[0]
        step_only = {name for name in first if not first[name].by_epoch}
        return EpochLog(
            by_epoch={name: value for name, value in joined.items() if name not in step_only and value is not None},
            by_step={name: first[name].last for name in step_only},
        )


def gathered(value: Untyped, ranks: int) -> list[Untyped]:
    """What each rank gave, by rank, on all of them."""
    if ranks == 1:
        return [value]
    found: list[Untyped] = [None] * ranks
    dist.all_gather_object(found, value)
    return found


def known_as(names: Sequence[str]) -> dict[str, str]:
    """The metric's name of each logged one: as `val/acc` is no name of a metric, it is known as val_acc.

    TrialError where two come to the same.
    """
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        if plain in found.values():
            raise TrialError(f"self.log({name!r}, …): is known as {plain}, as another is; give it a name of its own")
        found[name] = plain
    return found


def _single(name: str, value: Untyped) -> Untyped:
    """A value on its device, in float64; TrialError where it isn't one number."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.detach().double().squeeze()
    if isinstance(value, int | float):
        return float(value)
    shown = f"a tensor of {value.numel()}" if isinstance(value, torch.Tensor) else type(value).__name__
    raise TrialError(f"self.log({name!r}, …): needs a number, a tensor of one or a metric of torchmetrics, got {shown}")


def _take(kept: _Value, value: Untyped, weight: float) -> None:
    kept.last = value
    if kept.total is None:
        kept.total = value * weight if kept.how == "mean" else value
    elif kept.how in ("min", "max"):
        least: Callable[[Untyped, Untyped], Untyped] = torch.minimum if kept.how == "min" else torch.maximum
        kept.total = least(torch.as_tensor(kept.total), torch.as_tensor(value))
    else:
        kept.total = kept.total + (value * weight if kept.how == "mean" else value)
    kept.weight += weight


def _plain(name: str, kept: _Value) -> _Value:
    """Numbers in the place of tensors; of a metric of torchmetrics the value over all ranks."""
    if kept.metric is not None:
        kept.last = kept.total = float(_single(name, kept.metric.compute()))
        kept.metric.reset()
        kept.metric, kept.how = None, "same"
        return kept
    kept.last, kept.total = float(kept.last), float(kept.total)
    return kept


def _joined(of_ranks: Sequence[_Value]) -> float | None:
    first = of_ranks[0]
    some = [first] if first.first_rank_only or first.how == "same" else of_ranks
    totals = [one.total for one in some]
    if first.how == "mean":
        weight = sum(one.weight for one in some)
        return sum(totals) / weight if weight else None
    joins: dict[str, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max, "same": lambda one: one[0]}
    return joins[first.how](totals)
