"""What the search is compared with: stock tools and published methods, each as its users get it.

All see the grid in the encoding of `tune_cnn.search.space` (numbers in their order), so that what is compared is the
search and not how somebody wrote the space down. Every epoch of every system counts for its front.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler
from optuna.trial import Trial, TrialState
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from simulator import System
from tables import OBJECTIVES, Table

from tune_cnn.front.dominance import nondominated
from tune_cnn.metrics import EpochPoint
from tune_cnn.search.space import EncodedChoice
from tune_cnn.spec import Choice


class Encoding:
    """A table's grid as Optuna's distributions, and back."""

    def __init__(self, table: Table) -> None:
        self._choices = {
            name: EncodedChoice(Choice(values=tuple(values))) for name, values in table.space.items() if len(values) > 1
        }
        self._fixed = {name: values[0] for name, values in table.space.items() if len(values) == 1}
        self.distributions: dict[str, Any] = {name: choice.distribution for name, choice in self._choices.items()}

    def decoded(self, encoded: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._fixed, **{name: self._choices[name].values[at] for name, at in encoded.items()}}


class RandomSearch:
    """Configurations in random order, none twice until all were tried; every trial to its horizon."""

    def __init__(self, table: Table, seed: int) -> None:
        self._random = random.Random(seed)
        self._table = table
        self._left: list[dict[str, Any]] = []

    def ask(self, number: int) -> dict[str, Any]:
        if not self._left:
            self._left = list(self._table.configurations())
            self._random.shuffle(self._left)
        return self._left.pop()

    def observe(self, point: EpochPoint) -> bool:
        return False

    def finish(self, number: int, state: str, points: Sequence[EpochPoint]) -> None:
        pass


@dataclass(frozen=True)
class RayTrial:
    """All that Ray's schedulers read of a trial here."""

    trial_id: str


class StockOptunaSearch:
    """Ray's own OptunaSearch with its default sampler (TPE), multi-objective, and Ray's own ASHA beside it if wanted.

    Both classes are Ray's, called in the order in which Tune's loop calls them; only the loop is the simulator's. A
    trial that ASHA stopped is thus told as complete with its truncated time, and a failed one as failed.
    """

    def __init__(self, table: Table, seed: int, *, asha: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._encoding = Encoding(table)
        self._search = OptunaSearch(
            space=self._encoding.distributions, metric=list(OBJECTIVES), mode=["max", "min"], seed=seed
        )
        self._scheduler: Any = None  # Ray's; it reads of Tune's trials no more than RayTrial has
        if asha:
            horizon = max(table.space.get("epochs", [1]))
            self._scheduler = AsyncHyperBandScheduler(metric="accuracy", mode="max", max_t=horizon)

    def ask(self, number: int) -> dict[str, Any]:
        encoded = self._search.suggest(str(number))
        assert isinstance(encoded, dict)
        if self._scheduler is not None:
            self._scheduler.on_trial_add(None, RayTrial(str(number)))
        return self._encoding.decoded(_flat(encoded))

    def observe(self, point: EpochPoint) -> bool:
        self._search.on_trial_result(str(point.trial), _result(point))
        if self._scheduler is None:
            return False
        decision = self._scheduler.on_trial_result(None, RayTrial(str(point.trial)), _result(point))
        return bool(decision == TrialScheduler.STOP)

    def finish(self, number: int, state: str, points: Sequence[EpochPoint]) -> None:
        ended_well = state in {"complete", "stopped"}
        result = _result(points[-1]) if ended_well else None
        if self._scheduler is not None:
            if state == "complete":
                self._scheduler.on_trial_complete(None, RayTrial(str(number)), result)
            else:
                self._scheduler.on_trial_remove(None, RayTrial(str(number)))
        self._search.on_trial_complete(str(number), result=result, error=not ended_well)


def _result(point: EpochPoint) -> dict[str, Any]:
    return {**point.metrics, "training_iteration": point.epoch}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """OptunaSearch gives "model/width" back nested, and leaves "model.width" alone."""
    assert not any(isinstance(value, Mapping) for value in params.values())
    return dict(params)


class OptunaLoop:
    """A sampler of Optuna's by ask and tell; every trial to its horizon, told with its last point.

    Times are told as logarithms: ranks are the same, and a Gaussian process has an easier task.
    """

    def __init__(self, table: Table, seed: int, *, make: Callable[..., BaseSampler]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._encoding = Encoding(table)
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=make(seed=seed))
        self._running: dict[int, Trial] = {}

    def ask(self, number: int) -> dict[str, Any]:
        trial = self._running[number] = self._study.ask(self._encoding.distributions)
        return self._encoding.decoded(trial.params)

    def observe(self, point: EpochPoint) -> bool:
        return False

    def finish(self, number: int, state: str, points: Sequence[EpochPoint]) -> None:
        trial = self._running.pop(number)
        if state == "complete":
            error, log_time = _minimised(points[-1]).tolist()
            self._study.tell(trial, [-error, log_time])  # plain floats: Optuna takes an array for a failure
        else:
            self._study.tell(trial, state=TrialState.FAIL)


def _minimised(point: EpochPoint) -> np.ndarray:
    """(2,) accuracy negated, and log10 seconds."""
    return np.array([-point.metrics["accuracy"], np.log10(max(point.metrics["train_time_s"], 1e-9))])


class MoAsha(RandomSearch):
    """MO-ASHA as Syne Tune has it (Schmucker et al., 2021, https://arxiv.org/abs/2106.12639): random configurations,
    asynchronous successive halving, rungs sorted by dominance and, within a front, by an ε-net.

    Syne Tune's defaults: a third goes on, rungs at 1, 3, 9 … epochs, the ε-net begins with the first objective's best.
    """

    keep = 1 / 3

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(table, seed)
        horizon, rungs = max(table.space.get("epochs", [1])), 1
        while 3**rungs <= horizon:
            rungs += 1
        self._horizon = horizon
        self._rungs: dict[int, list[np.ndarray]] = {3**at: [] for at in range(rungs)}

    def observe(self, point: EpochPoint) -> bool:
        recorded = self._rungs.get(point.epoch)
        if recorded is None or point.epoch >= self._horizon:
            return False
        recorded.append(_minimised(point))
        if len(recorded) == 1:
            return False
        return position_of_last(np.array(recorded)) / len(recorded) > self.keep


def position_of_last(costs_nk: np.ndarray) -> int:
    """How many rows come before the last one: front by front, and within a front in the order of an ε-net."""
    left_n, before = np.arange(len(costs_nk)), 0
    last = len(costs_nk) - 1
    while True:
        on_front = nondominated(costs_nk[left_n])
        front_f = left_n[on_front]
        if last in front_f:
            order = epsilon_net(costs_nk[front_f])
            return before + order.index(int(np.flatnonzero(front_f == last)[0]))
        before += len(front_f)
        left_n = left_n[~on_front]


def epsilon_net(costs_nk: np.ndarray) -> list[int]:
    """Rows from the best in the first objective on, each next one the farthest from all before (Clarkson, 2006)."""
    order = [int(costs_nk[:, 0].argmin())]
    nearest_n = np.linalg.norm(costs_nk - costs_nk[order[0]], axis=1)
    nearest_n[order[0]] = -1.0
    while len(order) < len(costs_nk):
        order.append(int(nearest_n.argmax()))
        nearest_n = np.minimum(nearest_n, np.linalg.norm(costs_nk - costs_nk[order[-1]], axis=1))
        nearest_n[order] = -1.0
    return order


RIVALS: dict[str, Callable[[Table, int], System]] = {
    "random": RandomSearch,
    "stock-tpe": partial(StockOptunaSearch, asha=False),
    "stock-tpe-asha": partial(StockOptunaSearch, asha=True),
    "nsga2": partial(OptunaLoop, make=NSGAIISampler),
    "gp": partial(OptunaLoop, make=GPSampler),
    "mo-asha": MoAsha,
}
