"""A small Gaussian process on the unit cube: Matérn-5/2, a length for each feature, fitted by its posterior.

Our own, as scikit-learn's and BoTorch's, the same model behind the same interface, come to the front no sooner and take
twice and three times as long for an ask (tests/benchmarks/SIMULATION.md).
"""

import numpy as np

JITTER = 1e-6
STEPS = 40  # of the fit from scratch; a warm one needs a quarter
# Before data: a feature's effect changes over two thirds of its range in a space of five, less quickly where there are
# more. Longer ones write off what has not been tried: the doubt of such regions was a quarter of the real error.
LENGTH, LENGTH_SPREAD = 0.3, 0.8
NOISE_START, NOISE_SPREAD = -4.0, 1.5  # log of the noise's variance against the signal's


def matern(distance_nm: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(5.0) * distance_nm
    similar: np.ndarray = (1.0 + root + root**2 / 3.0) * np.exp(-root)
    return similar


def distances(one_nd: np.ndarray, other_md: np.ndarray) -> np.ndarray:
    squares = (one_nd**2).sum(axis=1)[:, None] + (other_md**2).sum(axis=1)[None] - 2.0 * one_nd @ other_md.T
    found: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return found


class GaussianProcess:
    """Several outputs over the same inputs share lengths and noise; each has its own mean and scale."""

    def __init__(self, dimensions: int) -> None:
        self._prior_d = np.full(dimensions, np.log(LENGTH * np.sqrt(max(dimensions, 1))))
        self.log_lengths_d = self._prior_d.copy()
        self.log_noise = NOISE_START

    def tune(self, inputs_nd: np.ndarray, targets_nk: np.ndarray, *, steps: int = STEPS) -> None:
        """Move lengths and noise uphill in the log posterior, by resilient steps: no line search, no library."""
        mean_k, scale_k = targets_nk.mean(axis=0), targets_nk.std(axis=0) + 1e-9
        targets_nk = (targets_nk - mean_k) / scale_k
        place = np.append(self.log_lengths_d, self.log_noise)
        size, before, best, best_at = np.full(len(place), 0.2), np.zeros(len(place)), np.inf, place
        for _ in range(steps):
            value, slope = self._loss(place, inputs_nd, targets_nk)
            if value < best:
                best, best_at = value, place
            agree = np.sign(slope * before)
            size = np.clip(size * np.where(agree > 0, 1.3, np.where(agree < 0, 0.5, 1.0)), 1e-3, 0.6)
            before = np.where(agree < 0, 0.0, slope)
            place = place - np.sign(before) * size
            place[:-1] = np.clip(place[:-1], -3.0, 5.0)
            place[-1] = np.clip(place[-1], -12.0, 0.5)
        self.log_lengths_d, self.log_noise = best_at[:-1], float(best_at[-1])

    def _loss(self, place: np.ndarray, inputs_nd: np.ndarray, targets_nk: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior, the signal's variance at its best, and its gradient."""
        n, k = targets_nk.shape
        scaled_nd = inputs_nd / np.exp(place[:-1])
        distance_nn = distances(scaled_nd, scaled_nd)
        kernel_nn = matern(distance_nn)
        noise = np.exp(place[-1])
        cov_nn = kernel_nn + (noise + JITTER) * np.eye(n)
        inverse_nn = np.linalg.inv(cov_nn)
        alpha_nk = inverse_nn @ targets_nk
        signal = max(float((targets_nk * alpha_nk).sum()) / (n * k), 1e-9)
        _, logdet = np.linalg.slogdet(cov_nn)
        prior = np.append((place[:-1] - self._prior_d) / LENGTH_SPREAD, (place[-1] - NOISE_START) / NOISE_SPREAD)
        loss = 0.5 * (logdet + n * np.log(signal)) + 0.5 * float((prior**2).sum())
        inner_nn = inverse_nn - alpha_nk @ alpha_nk.T / (k * signal)
        root = np.sqrt(5.0) * distance_nn
        weight_nn = inner_nn * (5.0 / 3.0) * (1.0 + root) * np.exp(-root)  # dk/dlog l_d = weight · (x_d - x'_d)²/l_d²
        rows_n = weight_nn.sum(axis=1)
        slope_d = (rows_n @ scaled_nd**2) - (scaled_nd * (weight_nn @ scaled_nd)).sum(axis=0)  # half of the double sum
        slope = np.append(slope_d, 0.5 * noise * np.trace(inner_nn))
        spread = np.append(np.full(len(place) - 1, LENGTH_SPREAD), NOISE_SPREAD)
        return loss, slope + prior / spread

    def predict(
        self, inputs_nd: np.ndarray, targets_nk: np.ndarray, extra_nk: np.ndarray, at_md: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) mean and standard deviation; `extra_nk`: variances that the inputs' targets have on top."""
        lengths_d = np.exp(self.log_lengths_d)
        one_nd, two_md = inputs_nd / lengths_d, at_md / lengths_d
        kernel_nn, cross_mn = matern(distances(one_nd, one_nd)), matern(distances(two_md, one_nd))
        kernel_nn[np.diag_indices_from(kernel_nn)] += np.exp(self.log_noise) + JITTER
        outputs = [
            _output(kernel_nn, cross_mn, targets_n, extra_n)
            for targets_n, extra_n in zip(targets_nk.T, extra_nk.T, strict=True)
        ]
        return np.stack([mean for mean, _ in outputs], axis=1), np.stack([doubt for _, doubt in outputs], axis=1)


def _output(
    kernel_nn: np.ndarray, cross_mn: np.ndarray, targets_n: np.ndarray, extra_n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = float(targets_n.mean()), float(targets_n.std()) + 1e-9
    inverse_nn = np.linalg.inv(kernel_nn + np.diag(extra_n / scale**2))
    alpha_n = inverse_nn @ ((targets_n - mean) / scale)
    signal = max(float(alpha_n @ (targets_n - mean)) / scale / len(targets_n), 0.05)
    left_m = np.maximum(1.0 - ((cross_mn @ inverse_nn) * cross_mn).sum(axis=1), 1e-9)
    return mean + scale * (cross_mn @ alpha_n), scale * np.sqrt(signal * left_m)
