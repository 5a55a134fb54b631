"""What matters: the share of each objective's variation that each searched parameter explains."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_cnn.metrics import Direction, Metric


def importances(
    study: optuna.Study, objectives: Sequence[Metric], ends: Mapping[int, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """By objective and parameter (PED-ANOVA); empty while fewer than two trials have ended well.

    `ends`: by Optuna's number of a trial the objectives at its last epoch.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < 2:
        return {}
    shares: dict[str, dict[str, float]] = {}
    for at, objective in enumerate(objectives):
        sign = -1.0 if objective.direction is Direction.MAX else 1.0  # the evaluator takes lower for better
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "computes the importances of params to achieve low target values"
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), target=_target(ends, at, sign)
            )
        shares[objective.name] = {key: float(share) for key, share in found.items()}
    return shares


def _target(ends: Mapping[int, Sequence[float]], at: int, sign: float) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * ends[trial.number][at]
