"""The sampler `curve_ehvi`: among many configurations, that whose curve should add most hypervolume per second."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tune_cnn.search.curve_model.candidates import Candidate, Candidates
from tune_cnn.search.curve_model.curve_gp import CurveModel, column_shares
from tune_cnn.search.curve_model.hardware_share import Part
from tune_cnn.search.curve_model.hypervolume_improvement import HypervolumeImprovement
from tune_cnn.search.curve_model.observations import Encoded, Observation, Observations

SAMPLES = 8  # of each predicted curve, in opposite pairs
MOST = 128  # curves in the model: with more, a proposal would take longer than it is worth
SPREAD = 64  # configurations among which the first ones are spread
START_SHARE = 0.05  # of a typical trial's time: what a trial takes beside its epochs, so that none comes free


def discrepancy_with(rows_cd: np.ndarray, tried_nd: np.ndarray) -> np.ndarray:
    """(c,) how unevenly the tried rows and this one lie, but for a constant (centred L2: Hickernell, 1998).

    Unlike the greatest distance from the others it keeps out of the corners, where little is learned of the rest.
    """
    from_c, from_n = np.abs(rows_cd - 0.5), np.abs(tried_nd - 0.5)
    count = len(tried_nd) + 1
    alone_c = (1.0 + 0.5 * from_c - 0.5 * from_c**2).prod(axis=1)
    apart_cnd = np.abs(rows_cd[:, None, :] - tried_nd[None])
    pairs_cn = (1.0 + 0.5 * from_c[:, None, :] + 0.5 * from_n[None] - 0.5 * apart_cnd).prod(axis=2)
    found_c: np.ndarray = -2.0 / count * alone_c + (2.0 * pairs_cn.sum(axis=1) + (1.0 + from_c).prod(axis=1)) / count**2
    return found_c


class Acquisition:
    """Chooses among candidates by a model of learning curves."""

    def __init__(
        self,
        candidates: Candidates,
        observations: Observations,
        *,
        epoch_time_s: Callable[[Candidate], float | None],
        time_ratio: Callable[[Part], float] = lambda part: 1.0,
        startup: int,
        rng: np.random.Generator,
    ) -> None:
        """`epoch_time_s`: what an epoch is known to take, from trials that cost the same or from the probe;
        `time_ratio`: how many times as long it takes as on another part of the hardware."""
        self._candidates, self._observations, self._epoch_time_s = candidates, observations, epoch_time_s
        self._time_ratio = time_ratio
        self._startup, self._rng = startup, rng
        self._model = CurveModel(candidates.width, len(observations.metrics))

    def choose(self, offered: Sequence[Candidate], *, within_s: float | None = None) -> Candidate:
        """The best of these; the first ones are spread over the space, until there is something to learn from.

        `within_s`: the time that is left; epochs that end later count for nothing.
        """
        rows_cd = np.stack([c.row_d for c in offered])
        if not self.informed:
            return offered[self._evenest(rows_cd)]
        return offered[int(np.argmax(self._rates(offered, rows_cd, self._learned_from(self._trained), within_s)))]

    @property
    def informed(self) -> bool:
        """Whether there is enough to learn from."""
        return len(self._trained) >= self._startup and bool(self._observations.tracker.reference)

    @property
    def _trained(self) -> list[Observation]:
        return [k for k in self._observations.all if k.curve.seen]

    def good(self) -> list[Encoded]:
        """Configurations in whose neighbourhood to look: those on the front, then the latest."""
        on_front = {p.trial for p in self._observations.tracker.points}
        trained = self._trained
        best = [k for k in trained if any(p.trial in on_front for p in k.curve.points[:1])]
        return [k.encoded for k in best] or [k.encoded for k in trained[-10:]]

    def _learned_from(self, trained: Sequence[Observation]) -> list[Observation]:
        """All, or the front's and the latest and some of the others."""
        if len(trained) <= MOST:
            return list(trained)
        on_front = {p.trial for p in self._observations.tracker.points}
        best = [k for k in trained if k.curve.points[0].trial in on_front][-MOST // 3 :]
        apart = {id(k) for k in best}
        rest = [k for k in trained if id(k) not in apart]
        latest, older = rest[-MOST // 3 :], rest[: -MOST // 3]
        drawn = self._rng.choice(len(older), size=min(len(older), MOST - len(best) - len(latest)), replace=False)
        return [*best, *latest, *(older[at] for at in drawn)]

    def _evenest(self, rows_cd: np.ndarray) -> int:
        """Of some, the one with which those tried lie most evenly in the space."""
        if not self._observations.all:
            return int(self._rng.integers(len(rows_cd)))
        tried_nd = np.stack([k.row_d for k in self._observations.all])
        some = self._rng.choice(len(rows_cd), size=min(SPREAD, len(rows_cd)), replace=False)
        return int(some[np.argmin(discrepancy_with(rows_cd[some], tried_nd))])

    def _rates(
        self, offered: Sequence[Candidate], rows_cd: np.ndarray, learned: Sequence[Observation], within_s: float | None
    ) -> np.ndarray:
        """(c,) the expected hypervolume per second of each curve, trained as far as the time allows.

        Not ended where the rate is highest: the stopper goes on while anything may be added, and what it will take
        is what counts (measured: tests/benchmarks/SIMULATION.md).
        """
        observations, count = self._observations, len(offered)
        shares_g = column_shares(max(k.curve.horizon for k in learned))
        shifts_nm = np.zeros((len(learned), len(observations.metrics)))
        shifts_nm[:, observations.time_at] = self._time_shifts(learned)
        self._model.learn(np.stack([k.row_d for k in learned]), [k.curve for k in learned], shares_g, shifts_nm)
        running = [k.row_d[None] for k in observations.all if k.running]
        mean_cgm, doubt_cgm = self._model.predict(np.concatenate([rows_cd, *running]))
        horizons_c = np.array([c.horizon for c in offered])
        self._put_known_times(offered, horizons_c, shares_g, mean_cgm, doubt_cgm)

        # What runs already will be there: it is counted as if it had come.
        expected_fm = mean_cgm[count:].reshape(-1, mean_cgm.shape[2])
        expected_fm = expected_fm[observations.allowed(expected_fm)]
        held_fk = np.concatenate([observations.gains(observations.front_levels), observations.gains(expected_fm)])
        exists_cg = horizons_c[:, None] * shares_g > 1 - 1e-9  # a short horizon has no epoch at the first shares
        sampled_scgk = self._samples(mean_cgm[:count], doubt_cgm[:count]) * exists_cg[None, :, :, None]
        reach_k = np.maximum(held_fk.max(axis=0, initial=0.0), sampled_scgk.max(axis=(0, 1, 2))) * 1.02 + 1e-9
        improvement = HypervolumeImprovement(np.maximum(held_fk, 0.0), reach_k, rng=self._rng)
        added_cg = np.mean([improvement.of_curves(sampled_cgk) for sampled_cgk in sampled_scgk], axis=0)
        time_m = mean_cgm[:count, :, observations.time_at]
        seconds_cg = 10.0 ** np.clip(np.nan_to_num(time_m), -9.0, 9.0) if not np.isnan(time_m).any() else shares_g
        seconds_cg = np.broadcast_to(seconds_cg, added_cg.shape)
        rates_cg = added_cg / (seconds_cg + START_SHARE * np.median(seconds_cg[:, -1]))
        in_time_c = (seconds_cg <= (within_s or np.inf)).sum(axis=1)
        rates_c: np.ndarray = np.where(in_time_c > 0, rates_cg[np.arange(count), np.maximum(in_time_c, 1) - 1], 0.0)
        return rates_c + 1e-12 / seconds_cg[:, 0]  # where nothing more is to be gained: the fastest

    def _time_shifts(self, learned: Sequence[Observation]) -> list[float]:
        """What is added to each curve's times, as levels, where it was trained on other hardware than is asked for."""
        parts = dict.fromkeys(k.part for k in learned if k.part is not None)
        by_part = {part: math.log10(self._time_ratio(part)) for part in parts}
        return [0.0 if k.part is None else by_part[k.part] for k in learned]

    def _samples(self, mean_cgm: np.ndarray, doubt_cgm: np.ndarray) -> np.ndarray:
        """(s, c, g, k) gains of curves that might be, 0 where a constraint is broken."""
        drawn = []
        for _ in range(SAMPLES // 2):
            z_m = self._rng.standard_normal(mean_cgm.shape[2])
            for sign in (1.0, -1.0):
                levels_cgm = mean_cgm + sign * z_m * doubt_cgm
                gains_cgk = np.maximum(self._observations.gains(levels_cgm), 0.0)
                counts_cg = (gains_cgk > 0).all(axis=2) & self._observations.allowed(levels_cgm)
                drawn.append(gains_cgk * counts_cg[:, :, None])
        return np.stack(drawn)

    def _put_known_times(
        self,
        offered: Sequence[Candidate],
        horizons_c: np.ndarray,
        shares_g: np.ndarray,
        mean_cgm: np.ndarray,
        doubt_cgm: np.ndarray,
    ) -> None:
        """Where an epoch's time is known there is nothing to guess."""
        at = self._observations.time_at
        for c, candidate in enumerate(offered):
            epoch_time_s = self._epoch_time_s(candidate)
            if epoch_time_s is not None:
                mean_cgm[c, :, at] = np.log10(epoch_time_s * horizons_c[c] * shares_g)
                doubt_cgm[c, :, at] = 0.0
