"""The search as its conductor sees it: ask for a configuration, observe its epochs, say how it ended."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tune_cnn.objectives import Direction, EpochPoint, Metric, unusable
from tune_cnn.search.samplers import build_sampler
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import StudySpec
from tune_cnn.spec.study import Bound

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Past:
    """A trial that ended before this search began, from the store."""

    params: Mapping[str, Any]
    state: str
    points: Sequence[EpochPoint] = field(default_factory=tuple)


class Search:
    """Optuna in memory, rebuilt from what is past. Knows neither Ray nor torch nor MLflow."""

    def __init__(self, spec: StudySpec, *, past: Iterable[Past] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._objectives: list[Metric] = spec.objective_metrics
        self._constraints: Mapping[str, Bound] = spec.constraints
        self._space = SearchSpace(spec.space)
        ended = list(past)
        arguments = {k: v for k, v in spec.sampler.model_dump().items() if k != "name"}
        # A resumed search goes on with fresh random numbers, not with those that it has used.
        sampler = build_sampler(spec.sampler.name, arguments, seed=spec.seed + len(ended))
        self._study = optuna.create_study(
            directions=["maximize" if m.direction is Direction.MAX else "minimize" for m in self._objectives],
            sampler=sampler,
        )
        self._study.add_trials([frozen for frozen in map(self._frozen, ended) if frozen is not None])
        self._running: dict[int, Trial] = {}

    def queue(self, params: Mapping[str, Any]) -> bool:
        """Have `ask` give this configuration next; False where it lies outside the space."""
        try:
            encoded, _ = self._space.encode(params)
        except ValueError as error:
            log.warning("warm start: %s is left out: %s", dict(params), error)
            return False
        self._study.enqueue_trial(encoded)
        return True

    def ask(self, number: int) -> dict[str, Any]:
        """The parameters of the trial with this number."""
        trial = self._study.ask()
        self._running[number] = trial
        return self._space.suggest(trial)

    def resume(self, number: int, params: Mapping[str, Any]) -> None:
        """Take up a trial that an earlier search left unfinished."""
        try:
            encoded, distributions = self._space.encode(params)
        except ValueError:
            return  # `finish` will not know it: its points count, the sampler learns nothing
        frozen = create_trial(params=encoded, distributions=distributions, state=TrialState.RUNNING)
        self._study.add_trial(frozen)
        last = self._study.get_trials(deepcopy=False)[-1]
        self._running[number] = Trial(self._study, last._trial_id)

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
        if values is not None:
            self._study.tell(trial, values)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if state == "infeasible" else TrialState.FAIL)

    def importances(self) -> dict[str, dict[str, float]]:
        """For each objective, the share of its variation that each searched parameter explains (PED-ANOVA)."""
        shares: dict[str, dict[str, float]] = {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        for at, objective in enumerate(self._objectives):
            sign = -1.0 if objective.direction is Direction.MAX else 1.0  # the evaluator takes lower for better
            try:
                shares[objective.name] = optuna.importance.get_param_importances(
                    self._study, evaluator=evaluator, target=_target(at, sign)
                )
            except (ValueError, RuntimeError) as error:  # fewer than two finished trials, or nothing searched
                log.debug("no importances for %s: %s", objective.name, error)
        return shares

    def _values(self, state: str, points: Sequence[EpochPoint]) -> list[float] | None:
        if state not in {"complete", "stopped"} or not points:
            return None
        last = max(points, key=lambda p: p.epoch)
        if unusable(last.metrics, [m.name for m in self._objectives]):
            return None
        return [last.metrics[m.name] for m in self._objectives]

    def _violations(self, state: str, points: Sequence[EpochPoint]) -> dict[str, float]:
        """By how much each constraint is broken; at most 0 where it is kept."""
        violations = {"memory": 1.0} if state == "infeasible" else {}
        if not points:
            return violations
        metrics = max(points, key=lambda p: p.epoch).metrics
        for name, bound in self._constraints.items():
            value = metrics.get(name, math.nan)
            if math.isfinite(value):
                over = [value - bound.max] if bound.max is not None else []
                under = [bound.min - value] if bound.min is not None else []
                violations[name] = max(over + under)
        return violations

    def _frozen(self, past: Past) -> FrozenTrial | None:
        try:
            encoded, distributions = self._space.encode(past.params)
        except ValueError:  # a grown space may have dropped a value; the trial keeps its place in the store
            return None
        values = self._values(past.state, past.points)
        missing = TrialState.PRUNED if past.state == "infeasible" else TrialState.FAIL
        violations = self._violations(past.state, past.points)
        return create_trial(
            params=encoded,
            distributions=distributions,
            values=values,
            state=TrialState.COMPLETE if values is not None else missing,
            system_attrs={f"constraints:{name}": v for name, v in violations.items()},
        )


def _target(at: int, sign: float) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * trial.values[at]
