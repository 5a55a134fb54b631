"""The search as its driver sees it: ask for a configuration, observe its epochs, say how it ended."""

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import Trial

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.acquisition import Acquisition
from tune_cnn.search.curve_model.candidates import Candidate, Candidates, key
from tune_cnn.search.curve_model.hardware_share import OnShare, Part, time_ratio
from tune_cnn.search.curve_model.memory_model import MemoryModel
from tune_cnn.search.curve_model.observations import Encoded, Observation, Observations
from tune_cnn.search.optuna_study import EndedTrial, OptunaStudy
from tune_cnn.search.samplers import OURS
from tune_cnn.search.space import SearchSpace
from tune_cnn.search.stopper import reason_to_stop
from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import STRATEGIES, STRETCHING, Configuration
from tune_cnn.spec.costs import Cost
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import TrialState
from tune_cnn.untyped import Plain

log = logging.getLogger(__name__)

STARTUP = 8  # trials with a point before `curve_ehvi` follows its model
LONGER = tuple(STRATEGIES + name for name in STRETCHING)
ASKS = 8  # proposals of a sampler of Optuna's that are passed over, before one is drawn at random


@dataclass(frozen=True, kw_only=True)
class Past:
    """A trial that ended before this search began, from the store."""

    params: Mapping[str, Plain]
    state: TrialState
    points: Sequence[EpochPoint] = field(default_factory=tuple)
    gpu_share: float = 0.0
    power_limit_w: float | None = None
    accelerator: str | None = None


Possible = Mapping[str, Collection[Plain]]  # values by key, of the keys of which some hardware takes some values only


class Search:
    """Optuna in memory, rebuilt from what is past. Knows neither Ray nor torch nor MLflow."""

    def __init__(
        self,
        spec: StudySpec,
        *,
        past: Iterable[Past] = (),
        cards: Cards | None = None,
        reference: Mapping[str, float] | None = None,
    ) -> None:
        """`reference`: of the hypervolume, where an earlier search fixed it."""
        self._spec = spec
        self._space = SearchSpace(spec.space, cards)
        self._changing = [STRATEGIES + name for name, card in (cards or {}).items() if card.changes_cost]
        self._candidates = Candidates(self._space, self._horizon)
        self._observations = Observations(spec, reference)
        self._shares: dict[Part, OnShare] = {}
        self._here = self._on((0.0, None, None))
        ended = list(past)
        self._taken = len(ended)
        self._rng = np.random.default_rng((spec.seed, self._taken))
        startup = spec.sampler.n_startup_trials
        self._acquisition = Acquisition(
            self._candidates,
            self._observations,
            epoch_time_s=self._known_epoch_time_s,
            time_ratio=lambda part: time_ratio(self._shares[part].costs, self._here.costs),
            startup=STARTUP if startup is None else startup,
            rng=self._rng,
        )
        self._optuna = OptunaStudy(
            spec, self._space, self._observations.objectives, self._observations.bounds, taken=self._taken
        )
        self._running: dict[int, tuple[Trial, Observation]] = {}
        self._reasons: dict[int, str] = {}
        self._queue: deque[Encoded] = deque()
        self._take_in(ended)

    # Configurations

    def begin_phase(
        self,
        gpu_share: float,
        power_limit_w: float | None = None,
        accelerator: str | None = None,
        *,
        possible: Possible | None = None,
    ) -> None:
        """The trials from now on run on this share of a GPU, at this limit of its power, on this type; costs, memory
        and what was tried are those of it. `possible`: what it can train, of keys of which it can't take every value.
        """
        self._here = self._on((gpu_share, power_limit_w, accelerator))
        self._here.possible = possible or {}

    def queue(self, params: Mapping[str, Plain]) -> bool:
        """Have `ask` give this configuration next, unless it was tried; False where it lies outside the space."""
        try:
            encoded, _ = self._space.encode(params)
        except ValueError as error:
            log.warning("warm start: a configuration is left out: %s", error)
            return False
        if not self._here.tried[key(encoded)] and encoded not in self._queue:
            self._queue.append(encoded)
        return True

    def ask(self, number: int, *, within_s: float | None = None) -> dict[str, Plain]:
        """The parameters of the trial with this number; `within_s`: the time that is left for it.

        What can't end an epoch in that time is not proposed while something else can.
        """
        for encoded in self._queue:
            if self._here.can_train(self._candidates.of(encoded).params):
                self._queue.remove(encoded)
                return self._start(number, encoded)
        if self._spec.sampler.name != OURS:
            return self._ask_optuna(number, within_s)
        return self._start(number, self._acquisition.choose(self._offered(within_s), within_s=within_s).encoded)

    def resume(self, number: int, params: Mapping[str, Plain], points: Sequence[EpochPoint] = ()) -> None:
        """Take up a trial that an earlier search left unfinished, with the epochs that it had."""
        try:
            encoded, _ = self._space.encode(params)
        except ValueError as error:
            # `finish` will not know it: its points count, the sampler learns nothing
            log.debug("trial %d is not told to the sampler: %s", number, error)
            return
        if encoded in self._queue:
            self._queue.remove(encoded)
        self._start(number, encoded, points)
        self._taken += 1
        self._optuna.draw_anew(self._taken)

    def learn_cost(self, params: Mapping[str, Plain], cost: Cost, *, fits: bool = True) -> None:
        """What a configuration costs, measured beside the search; `fits`: whether memory held it."""
        try:
            row_d = self._candidates.row(self._space.encode(params)[0])
        except ValueError:
            return  # of another space
        self._here.costs.probe(params, row_d, cost)
        if not fits:
            self._here.memory.fails(row_d)
        elif cost.peak_memory_mib is not None and not self._changes(params):
            self._here.memory.fits(row_d, cost.peak_memory_mib)

    def epoch_time_s(self, params: Mapping[str, Plain]) -> float | None:
        """Seconds of training an epoch of this configuration, known or judged by others; None before there are any."""
        try:
            row_d = self._candidates.row(self._space.encode(params)[0])
        except ValueError:
            return None
        return self._here.costs.epoch_time_s(params, row_d)

    # Results

    def observe(self, point: EpochPoint) -> bool:
        """Hear of an epoch; True stops the trial, and `reason` says why."""
        if point.trial not in self._running:
            return False
        observation = self._running[point.trial][1]
        self._observations.add(observation, point)
        self._here.costs.observe(observation.params, observation.row_d, point)
        if self._spec.stopper.name == "none":
            return False
        reason = reason_to_stop(self._observations, observation, boldness=self._spec.stopper.boldness)
        if reason is not None:
            self._reasons[point.trial] = reason
        return reason is not None

    def reason(self, number: int) -> str | None:
        """Why `observe` stopped a trial."""
        return self._reasons.get(number)

    @property
    def reference(self) -> Mapping[str, float] | None:
        """The hypervolume's reference point in the metrics' units, once enough trials have ended to fix it."""
        tracker = self._observations.tracker
        return tracker.reference if tracker.reference_is_fixed else None

    def finish(self, number: int, state: TrialState, points: Sequence[EpochPoint]) -> None:
        """A trial has ended: what its curve says is known already; Optuna is told of it."""
        trial, observation = self._running.pop(number, (None, None))
        if trial is None or observation is None:
            self._observations.end(None)
            return
        self._learn_memory(self._here, observation, state, points)
        self._optuna.tell(trial, state, points)
        self._observations.end(observation)

    # Inside

    def _start(self, number: int, encoded: Encoded, points: Sequence[EpochPoint] = ()) -> dict[str, Plain]:
        """Begin a trial of this very configuration."""
        return self._begin(number, *self._optuna.begin(encoded), points)

    def _ask_optuna(self, number: int, within_s: float | None) -> dict[str, Plain]:
        """What the sampler proposes, unless it was tried or won't fit; then another, at last one at random."""
        for _ in range(ASKS):
            trial, params = self._optuna.propose()
            one = self._candidates.of(self._space.encode(params)[0])
            if not self._space.searched or self._here.worth_trying([one], within_s, strict=True):
                return self._begin(number, trial, params)
            self._optuna.pass_over(trial)
        left = self._here.worth_trying(self._candidates.among([], self._rng), within_s)
        return self._start(number, left[int(self._rng.integers(len(left)))].encoded)

    def _begin(
        self, number: int, trial: Trial, params: dict[str, Plain], points: Sequence[EpochPoint] = ()
    ) -> dict[str, Plain]:
        encoded, _ = self._space.encode(params)
        self._running[number] = (trial, self._start_observation(encoded, params, points, self._here))
        return params

    def _on(self, part: Part) -> OnShare:
        if part not in self._shares:
            self._shares[part] = OnShare(part=part, memory=MemoryModel(self._candidates.costly_d))
        return self._shares[part]

    def _start_observation(
        self, encoded: Encoded, params: Mapping[str, Plain], points: Sequence[EpochPoint], share: OnShare
    ) -> Observation:
        share.tried[key(encoded)] += 1
        row_d, horizon = self._candidates.row(encoded), self._spec.configuration(params).horizon
        observation = self._observations.start(encoded, params, row_d, horizon, points, part=share.part)
        for point in points:
            share.costs.observe(params, row_d, point)
        return observation

    def _changes(self, params: Mapping[str, Plain]) -> bool:
        """Whether later epochs may need other time and memory than the first ones, by a strategy that it has on."""
        return any(params.get(name) is True for name in self._changing)

    def _known_epoch_time_s(self, candidate: Candidate) -> float | None:
        return None if self._changes(candidate.params) else self._here.costs.known(candidate.cost)

    def _learn_memory(
        self, share: OnShare, observation: Observation, state: TrialState, points: Sequence[EpochPoint]
    ) -> None:
        if state is TrialState.INFEASIBLE:
            share.memory.fails(observation.row_d)
        elif points and (state is TrialState.COMPLETE or not self._changes(observation.params)):
            peaks = [p.metrics.get("peak_memory_mib") for p in points]
            share.memory.fits(observation.row_d, max((p for p in peaks if p is not None), default=None))

    def _horizon(self, params: Mapping[str, Plain]) -> int:
        """As `Configuration.horizon` says, which only a few strategies' knobs make more than `epochs`."""
        if any(params.get(name) is True for name in LONGER):
            return self._spec.configuration(params).horizon
        epochs = params.get("epochs", Configuration.model_fields["epochs"].default)
        assert isinstance(epochs, int)
        return epochs

    def _offered(self, within_s: float | None) -> list[Candidate]:
        """The whole space and, every other time, what lies beside the front: the model alone may write off a region
        (measured: tests/benchmarks/SIMULATION.md), and a strategy that no trial has had on."""
        good = self._acquisition.good()
        if self._acquisition.informed and len(self._observations.all) % 2:
            beside = self._candidates.around(good, self._rng)
            fresh = self._here.worth_trying(beside, within_s, strict=True)
            if fresh:
                new = self._strategies_never_on()
                return [c for c in fresh if any(c.params.get(name) is True for name in new)] or fresh
        return self._here.worth_trying(self._candidates.among(good, self._rng), within_s)

    def _strategies_never_on(self) -> list[str]:
        tried = self._observations.all
        return [name for name in self._space.strategies if all(k.params.get(name) is not True for k in tried)]

    def _take_in(self, ended: Sequence[Past]) -> None:
        """The past as Optuna's trials; one that a changed space can't hold keeps its place in the store only."""
        taken = []
        for past in ended:
            try:
                encoded, distributions = self._space.encode(past.params)
            except ValueError as error:
                log.debug("a past trial is not told to the sampler: %s", error)
                self._observations.end(None)
                continue
            share = self._on((past.gpu_share, past.power_limit_w, past.accelerator))
            observation = self._start_observation(encoded, past.params, past.points, share)
            self._observations.end(observation)
            self._learn_memory(share, observation, past.state, past.points)
            taken.append(EndedTrial(encoded=encoded, distributions=distributions, state=past.state, points=past.points))
        self._optuna.take_in(taken)
