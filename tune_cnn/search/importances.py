"""What matters: the share of each objective's variation that each searched parameter explains."""

import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, create_trial

from tune_cnn.metrics import Direction, Metric, unusable
from tune_cnn.search.search import Past
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import StudySpec

log = logging.getLogger(__name__)


def importances(spec: StudySpec, past: Iterable[Past]) -> dict[str, dict[str, float]]:
    """By objective and parameter (PED-ANOVA), of the trials' last epochs; empty while fewer than two ended well.

    Of what is recorded alone, so that whoever reads a study finds the same. A strategy that could not be on beside
    the others counts as one that was off, as it is recorded: no cards of strategies are needed, nor their code.
    """
    trials = _trials(spec, past)
    if not spec.searched or len(trials) < 2:
        return {}
    shares: dict[str, dict[str, float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "computes the importances of params to achieve low target values"
        study = _study(spec.objective_metrics, trials)
        for at, objective in enumerate(spec.objective_metrics):
            sign = -1.0 if objective.direction is Direction.MAX else 1.0  # the evaluator takes lower for better
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator, target=_signed(at, sign), normalize=False
            )
            shares[objective.name] = _shares({key: float(found[key]) for key in spec.searched if key in found})
    return shares


def _shares(found: Mapping[str, float]) -> dict[str, float]:
    """Summing up to 1. In the space's order, and by a sum that no order changes: Optuna's is that of a set, another
    one in every process."""
    total = math.fsum(found.values())
    return {key: share / total if total else 1 / len(found) for key, share in found.items()}


def _trials(spec: StudySpec, past: Iterable[Past]) -> list[FrozenTrial]:
    """Those that ended with a result; one that a changed space can't hold is left out."""
    space, names = SearchSpace(spec.space), [metric.name for metric in spec.objective_metrics]
    trials = []
    for one in past:
        usable = [point for point in one.points if not unusable(point.metrics, names)]
        if not one.state.has_result or not usable:
            continue
        try:
            params, distributions = space.encode(one.params)
        except ValueError as error:
            log.debug("a trial does not count for the importances: %s", error)
            continue
        last = max(usable, key=lambda point: point.epoch)
        values = [last.metrics[name] for name in names]
        trials.append(create_trial(params=params, distributions=distributions, values=values))
    return trials


def _study(objectives: Sequence[Metric], trials: Sequence[FrozenTrial]) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it says that it has made a study
    try:
        study = optuna.create_study(directions=["minimize"] * len(objectives))
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    return study


def _signed(at: int, sign: float) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * trial.values[at]
