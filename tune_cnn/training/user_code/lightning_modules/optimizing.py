"""What `configure_optimizers` gives: Lightning's documented forms, held against what our loop can honour.

One optimizer; a list of them; (optimizers, schedulers); a mapping {optimizer, lr_scheduler, monitor}; a list of such
mappings. A scheduler is one, or a mapping {scheduler, interval, frequency, monitor, strict, name, reduce_on_plateau}.
More than one optimizer needs manual optimization, as in Lightning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tune_cnn.errors import TrialError
from tune_cnn.untyped import Untyped

OF_OPTIMIZER = frozenset({"optimizer", "lr_scheduler", "monitor"})
OF_SCHEDULER = frozenset({"scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau"})


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A scheduler and when it steps, by the names of Lightning's own LRSchedulerConfig."""

    scheduler: Untyped
    interval: str = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    monitor: str | None = None
    strict: bool = True
    name: str | None = None

    def is_due(self, interval: str, number: int, *, plateau: bool) -> bool:
        """After so many epochs, or steps of the running epoch, as Lightning counts them."""
        return self.reduce_on_plateau == plateau and self.interval == interval and number % self.frequency == 0


def configured(given: Untyped, *, automatic: bool) -> tuple[list[Optimizer], list[Scheduled]]:
    """The optimizers and their schedulers; TrialError where they are none, or can't be stepped by our loop."""
    optimizers, schedulers, monitor = _forms(given)
    if automatic and len(optimizers) != 1:
        raise TrialError(
            f"configure_optimizers: automatic optimization steps one optimizer, got {len(optimizers)}; set "
            "self.automatic_optimization = False and step them in training_step"
        )
    scheduled = [_scheduled(one, monitor, automatic) for one in schedulers]
    for one in scheduled:
        if all(getattr(one.scheduler, "optimizer", None) is not optimizer for optimizer in optimizers):
            raise TrialError("configure_optimizers: a scheduler is of an optimizer that was not returned")
    return optimizers, scheduled


def _forms(given: Untyped) -> tuple[list[Optimizer], list[Untyped], str | None]:
    if isinstance(given, Optimizer):
        return [given], [], None
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) == 2 and isinstance(given[0], list) and _all(given[0]):
            return given[0], list(given[1]) if isinstance(given[1], list | tuple) else [given[1]], None
        if given and all(isinstance(one, Mapping) for one in given):
            parts = [_of_mapping(one) for one in given]
            monitors = [{"scheduler": s, "monitor": m} if m else s for _, found, m in parts for s in found]
            return [one for found, _, _ in parts for one in found], monitors, None
        if _all(given):
            return list(given), [], None
    raise TrialError(
        "configure_optimizers: must return an optimizer, a list of them, (optimizers, schedulers) or "
        f"{{'optimizer': …, 'lr_scheduler': …}}, got {type(given).__name__}"
    )


def _all(given: Sequence[Untyped]) -> bool:
    return bool(given) and all(isinstance(one, Optimizer) for one in given)


def _of_mapping(given: Mapping[str, Untyped]) -> tuple[list[Optimizer], list[Untyped], str | None]:
    strange = given.keys() - OF_OPTIMIZER
    if strange or not isinstance(given.get("optimizer"), Optimizer):
        raise TrialError(
            "configure_optimizers: a mapping holds `optimizer`, and may hold lr_scheduler and monitor, got "
            f"{', '.join(sorted(map(str, given)))}"
        )
    return [given["optimizer"]], [given["lr_scheduler"]] if "lr_scheduler" in given else [], given.get("monitor")


def _scheduled(given: Untyped, monitor: str | None, automatic: bool) -> Scheduled:
    asked = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    if isinstance(asked.get("scheduler"), Mapping):  # of a list of mappings that each name a monitor
        asked = {"monitor": asked.get("monitor"), **asked["scheduler"]}
    strange = asked.keys() - OF_SCHEDULER
    if strange or "scheduler" not in asked:
        raise TrialError(
            f"configure_optimizers: a scheduler's mapping holds `scheduler`, and may hold "
            f"{', '.join(sorted(OF_SCHEDULER - {'scheduler'}))}, got {', '.join(sorted(asked))}"
        )
    asked.setdefault("reduce_on_plateau", isinstance(asked["scheduler"], ReduceLROnPlateau))
    asked["monitor"] = asked.get("monitor") or monitor
    made = Scheduled(**asked)
    if not hasattr(made.scheduler, "state_dict") or not hasattr(made.scheduler, "load_state_dict"):
        raise TrialError(
            "configure_optimizers: a scheduler needs state_dict and load_state_dict, got "
            f"{type(made.scheduler).__name__}"
        )
    if made.interval not in ("step", "epoch"):
        raise TrialError(f"configure_optimizers: interval must be step or epoch, got {made.interval!r}")
    if not isinstance(made.frequency, int) or made.frequency < 1:
        raise TrialError(f"configure_optimizers: frequency must be a whole number from 1, got {made.frequency!r}")
    if made.reduce_on_plateau and automatic:
        if made.interval != "epoch":
            raise TrialError("configure_optimizers: a plateau is looked for between epochs; set interval to epoch")
        if made.monitor is None:
            raise TrialError("configure_optimizers: ReduceLROnPlateau needs `monitor`, the name of a logged value")
    return made
