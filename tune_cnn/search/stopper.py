"""Whether a curve can still add hypervolume: the study's own curves say what is plausible."""

import numpy as np

from tune_cnn.front.hypervolume import volume
from tune_cnn.search.curve_model.observations import Observation, Observations

ENOUGH = 5  # curves that went as far: fewer say too little of how different trials are
STRICT_Z = 6.0  # standard deviations of doubt granted at boldness 0; none at 1
FEW = 4.0  # a spread seen on few curves is itself in doubt: Student's t of 0.1 % against the normal, nearly
RARE = 10.0  # the largest gain of few curves is not the largest there is: so much farther from their mean, over n - 1
WORTH = 1e-9  # of the present hypervolume: less is arithmetic
LAST_BITS = 9  # decimals that processors agree on: past them a logarithm depends on the instructions it is made of


def outlook(mine_em: np.ndarray, others_nem: np.ndarray, *, boldness: float) -> np.ndarray | None:
    """The best that a curve can plausibly become: (epochs to come, m) levels, all metrics at their best together.

    `mine_em`: its levels so far, NaN from the next epoch on; `others_nem`: those of other trials at the same epochs.
    What those of them nearest in level gained from this epoch to each later one is the guide: their mean gain and,
    against surprises, their spread times what boldness leaves; but no less, unless boldness is 1, than the most that
    any curve gained there, and more than that while they are few. None where too few went that far.
    """
    now = int((~np.isnan(mine_em).all(axis=1)).sum()) - 1
    ahead_em = np.empty((len(mine_em) - now - 1, mine_em.shape[1]))
    for m in range(mine_em.shape[1]):
        if np.isnan(mine_em[now, m]):  # not measured here: nothing is said of it
            ahead_em[:, m] = np.nan
            continue
        for at, later in enumerate(range(now + 1, len(mine_em))):
            gain_n = others_nem[:, later, m] - others_nem[:, now, m]
            known_n = ~np.isnan(gain_n)
            count = int(known_n.sum())
            if count < ENOUGH:
                return None
            gain_n, apart_n = gain_n[known_n], np.abs(others_nem[known_n, now, m] - mine_em[now, m])
            most, mean = float(gain_n.min()), float(gain_n.mean())
            most -= (mean - most) * RARE / (count - 1)
            nearest_n = np.argsort(apart_n.round(LAST_BITS), kind="stable")  # of those as near the earlier trial's
            gain_n = gain_n[nearest_n[: max(ENOUGH, count // 2)]]
            doubt = STRICT_Z * (1.0 - boldness) * float(gain_n.std()) * (1.0 + FEW / (len(gain_n) - 1))
            likely = float(gain_n.mean()) - doubt
            ahead_em[at, m] = mine_em[now, m] + (min(likely, most) if boldness < 1.0 else likely)
    return ahead_em


def reason_to_stop(observations: Observations, observation: Observation, *, boldness: float) -> str | None:
    """Why a running trial should end, in words; None where it should go on."""
    curve = observation.curve
    if not 0 < curve.seen < curve.horizon:
        return None
    others_nem = observations.curves.at_shares_of(curve.horizon, but=curve)
    ahead_em = outlook(curve.levels_em, others_nem, boldness=boldness)
    if ahead_em is None:
        return None
    ahead_em = ahead_em[observations.allowed(ahead_em)]
    if not len(ahead_em):
        return f"stopped at epoch {curve.seen}: it can't keep the constraints any more"
    if not observations.tracker.reference:
        return None  # nothing kept the constraints yet, so whatever does adds
    if not observations.tracker.reference_is_fixed and not (observations.gains(ahead_em).round(LAST_BITS) >= 0).all():
        return None  # beyond what was seen so far, which the reference point may yet take in
    held_fk = observations.gains(observations.front_levels)
    before = volume(held_fk)
    added = volume(np.concatenate([held_fk, observations.gains(ahead_em)])) - before
    if added > WORTH * before:
        return None
    return f"stopped at epoch {curve.seen}: at best it would add {added:.2g} to the hypervolume of {before:.4g}"
