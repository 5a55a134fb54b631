"""The search as its conductor sees it: ask for a configuration, observe its epochs, say how it ended."""

import logging
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tune_cnn.objectives import Direction, EpochPoint, Metric, unusable
from tune_cnn.search.samplers import build_sampler, generation_attrs
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import Bound

log = logging.getLogger(__name__)

COUNTS = {"complete", "stopped"}  # states in which a trial's last point is its result


@dataclass(frozen=True, kw_only=True)
class Past:
    """A trial that ended before this search began, from the store."""

    params: Mapping[str, Any]
    state: str
    points: Sequence[EpochPoint] = field(default_factory=tuple)


class Search:
    """Optuna in memory, rebuilt from what is past. Knows neither Ray nor torch nor MLflow."""

    def __init__(self, spec: StudySpec, *, past: Iterable[Past] = ()) -> None:
        # Below an error Optuna talks of its own affairs: conditional spaces under QMC, trials that failed.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec = spec
        self._objectives: list[Metric] = spec.objective_metrics
        self._constraints: Mapping[str, Bound] = spec.constraints
        self._space = SearchSpace(spec.space)
        ended = list(past)
        self._taken = len(ended)
        self._sampler = self._fresh_sampler()
        self._study = optuna.create_study(
            directions=["maximize" if m.direction is Direction.MAX else "minimize" for m in self._objectives],
            sampler=self._sampler,
        )
        self._study.add_trials(self._frozen(ended))
        self._running: dict[int, Trial] = {}
        self._queue: deque[dict[str, Any]] = deque()

    def queue(self, params: Mapping[str, Any]) -> bool:
        """Have `ask` give this configuration next, unless it was tried; False where it lies outside the space."""
        try:
            encoded, _ = self._space.encode(params)
        except ValueError as error:
            log.warning("warm start: a configuration is left out: %s", error)
            return False
        tried = [trial.params for trial in self._study.get_trials(deepcopy=False)]
        if encoded not in tried and encoded not in self._queue:
            self._queue.append(encoded)
        return True

    def ask(self, number: int) -> dict[str, Any]:
        """The parameters of the trial with this number."""
        return self._start(number, self._queue.popleft() if self._queue else None)

    def resume(self, number: int, params: Mapping[str, Any]) -> None:
        """Take up a trial that an earlier search left unfinished."""
        try:
            encoded, _ = self._space.encode(params)
        except ValueError as error:
            # `finish` will not know it: its points count, the sampler learns nothing
            log.debug("trial %d is not told to the sampler: %s", number, error)
            return
        if encoded in self._queue:
            self._queue.remove(encoded)
        self._start(number, encoded)
        self._taken += 1
        self._sampler = self._study.sampler = self._fresh_sampler()

    def observe(self, point: EpochPoint) -> bool:
        """Hear of an epoch; True stops the trial. With `stopper: none` none is ever stopped."""
        return False

    def finish(self, number: int, state: str, points: Sequence[EpochPoint]) -> None:
        """Tell Optuna how a trial ended: the last of its true points, a violated constraint, or a failure."""
        trial = self._running.pop(number, None)
        if trial is None:
            return
        for name, violation in self._violations(state, points).items():
            trial.set_constraint(name, violation)
        values = self._values(state, points)
        self._study.tell(trial, values, state=_told(state, values))

    def importances(self) -> dict[str, dict[str, float]]:
        """For each objective, the share of its variation that each searched parameter explains (PED-ANOVA).

        Empty while fewer than two trials have ended well, or where nothing is searched.
        """
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(trials) < 2 or not self._space.searched:
            return {}
        shares: dict[str, dict[str, float]] = {}
        for at, objective in enumerate(self._objectives):
            sign = -1.0 if objective.direction is Direction.MAX else 1.0  # the evaluator takes lower for better
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "computes the importances of params to achieve low target values"
                found = optuna.importance.get_param_importances(
                    self._study,
                    evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                    target=_target(at, sign),
                )
            shares[objective.name] = {key: float(share) for key, share in found.items()}
        return shares

    def _start(self, number: int, encoded: Mapping[str, Any] | None) -> dict[str, Any]:
        """Ask Optuna, for this very configuration where one is given."""
        if encoded is not None:
            self._study.enqueue_trial(dict(encoded))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what the GP's arithmetic says of points that look alike is no user's affair
            trial = self._study.ask()
            self._running[number] = trial
            return self._space.suggest(trial)

    def _fresh_sampler(self) -> optuna.samplers.BaseSampler:
        """The sampler with random numbers of its own: a resumed search must not draw again what it drew before."""
        seed = (self._spec.seed * 1_000_003 + self._taken) % 2**31
        return build_sampler(self._spec.sampler.name, self._spec.sampler.arguments, seed=seed)

    def _values(self, state: str, points: Sequence[EpochPoint]) -> list[float] | None:
        if state not in COUNTS or not points:
            return None
        last = max(points, key=lambda p: p.epoch)
        if unusable(last.metrics, [m.name for m in self._objectives]):
            return None
        return [last.metrics[m.name] for m in self._objectives]

    def _violations(self, state: str, points: Sequence[EpochPoint]) -> dict[str, float]:
        """By how much each constraint is broken, as a share of its limit; at most 0 where it is kept.

        A metric that was not measured breaks its constraint, as it does for the front; and every trial with a result
        has all of them, or the GP sampler refuses to go on.
        """
        violations = {"memory": 1.0} if state == "infeasible" else {}
        if not points:
            return violations
        metrics = max(points, key=lambda p: p.epoch).metrics
        for name, bound in self._constraints.items():
            value = metrics.get(name, math.nan)
            over = [_share(value - bound.max, bound.max)] if bound.max is not None else []
            under = [_share(bound.min - value, bound.min)] if bound.min is not None else []
            violations[name] = max(over + under) if math.isfinite(value) else 1.0
        return violations

    def _frozen(self, ended: Sequence[Past]) -> list[FrozenTrial]:
        """The past as Optuna's trials; one that a changed space can't hold keeps its place in the store only."""
        frozen: list[FrozenTrial] = []
        results = 0
        for past in ended:
            try:
                encoded, distributions = self._space.encode(past.params)
            except ValueError as error:
                log.debug("a past trial is not told to the sampler: %s", error)
                continue
            values = self._values(past.state, past.points)
            trial = create_trial(
                params=encoded,
                distributions=distributions,
                values=values,
                state=_told(past.state, values),
                constraints=self._violations(past.state, past.points),
                system_attrs=generation_attrs(self._sampler, results),
            )
            frozen.append(trial)
            results += values is not None
        return frozen


def _told(state: str, values: Sequence[float] | None) -> TrialState:
    """Out of memory teaches as a pruned trial with a violated constraint; a failure teaches nothing."""
    if values is not None:
        return TrialState.COMPLETE
    return TrialState.PRUNED if state == "infeasible" else TrialState.FAIL


def _share(over: float, limit: float) -> float:
    return over / abs(limit) if limit else over


def _target(at: int, sign: float) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * trial.values[at]
