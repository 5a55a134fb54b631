"""Optuna's study, in memory: asked for a trial, told how one ended, given those of the past."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import Trial, create_trial
from optuna.trial import TrialState as OptunaState

from tune_cnn.metrics import Direction, EpochPoint, Metric
from tune_cnn.search.optuna_tell import point_told, state_told, violations
from tune_cnn.search.samplers import build_sampler, generation_attrs
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import StudySpec
from tune_cnn.states import TrialState
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class EndedTrial:
    """One of the past, in Optuna's terms."""

    encoded: Mapping[str, Plain]
    distributions: Mapping[str, BaseDistribution]
    state: TrialState
    points: Sequence[EpochPoint]


class OptunaStudy:
    """Nothing of it is stored: a search that goes on makes it anew from its own record."""

    def __init__(
        self,
        spec: StudySpec,
        space: SearchSpace,
        objectives: Sequence[Metric],
        bounds: Mapping[str, Mapping[str, float]],
        *,
        taken: int,
    ) -> None:
        """`bounds`: of the constraints, by metric; `taken`: how many trials there were before."""
        # Below an error Optuna talks of its own affairs: conditional spaces under QMC, trials that failed.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec, self._space, self._objectives, self._bounds = spec, space, objectives, bounds
        up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        directions = [up if m.direction is Direction.MAX else down for m in objectives]
        self._study = optuna.create_study(directions=directions, sampler=self._fresh_sampler(taken))

    @property
    def directions(self) -> list[str]:
        """Of the objectives: MAXIMIZE or MINIMIZE."""
        return [direction.name for direction in self._study.directions]

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def draw_anew(self, taken: int) -> None:
        """From here on with other random numbers: a resumed search must not draw again what it drew before."""
        self._study.sampler = self._fresh_sampler(taken)

    def propose(self) -> tuple[Trial, dict[str, Plain]]:
        """What the sampler would try, with its parameters."""
        return self._drawn(freely=True)

    def begin(self, encoded: Mapping[str, Plain]) -> tuple[Trial, dict[str, Plain]]:
        """A trial of this very configuration, with its parameters."""
        self._study.enqueue_trial(dict(encoded))
        return self._drawn(freely=False)

    def pass_over(self, trial: Trial) -> None:
        """It is not trained."""
        self._study.tell(trial, state=OptunaState.FAIL)

    def tell(self, trial: Trial, state: TrialState, points: Sequence[EpochPoint]) -> None:
        """How it ended."""
        told = self._told(state, points)
        for name, violation in violations(state, told, self._spec.constraints).items():
            trial.set_constraint(name, violation)
        values = self._values(told)
        self._study.tell(trial, values, state=state_told(state, values))

    def take_in(self, ended: Iterable[EndedTrial]) -> None:
        """Trials that were trained before."""
        results = 0
        for one in ended:
            told = self._told(one.state, one.points)
            values = self._values(told)
            self._study.add_trial(
                create_trial(
                    params=dict(one.encoded),
                    distributions=dict(one.distributions),
                    values=values,
                    state=state_told(one.state, values),
                    constraints=violations(one.state, told, self._spec.constraints),
                    system_attrs=generation_attrs(self._study.sampler, results),
                )
            )
            results += values is not None

    def _drawn(self, *, freely: bool) -> tuple[Trial, dict[str, Plain]]:
        """`freely`: else the next in Optuna's queue is drawn, whose values say which strategies exclude which."""
        with warnings.catch_warnings():
            # what the GP's arithmetic says of points that look alike is no user's affair
            warnings.simplefilter("ignore")
            trial = self._study.ask()
            order = self._space.shuffled_strategies(trial.number) if freely else ()
            return trial, self._space.suggest(trial, order)

    def _told(self, state: TrialState, points: Sequence[EpochPoint]) -> EpochPoint | None:
        return point_told(points, self._objectives, self._bounds) if state.has_result else None

    def _values(self, told: EpochPoint | None) -> list[float] | None:
        return None if told is None else [told.metrics[m.name] for m in self._objectives]

    def _fresh_sampler(self, taken: int) -> optuna.samplers.BaseSampler:
        seed = (self._spec.seed * 1_000_003 + taken) % 2**31
        return build_sampler(self._spec.sampler.name, self._spec.sampler.arguments, seed=seed)
