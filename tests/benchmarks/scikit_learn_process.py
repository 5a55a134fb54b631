"""scikit-learn's Gaussian process behind the interface of the search's own, for simulate.py to compare.

The same model: Matérn-5/2 with a length for each feature, lengths and noise shared by the outputs, a mean, a scale and
a signal for each, the same priors (scikit-learn has none; its `optimizer` may be ours, which adds them), warm starts,
and the variances that the targets have on top. With equal lengths and noise the predictions are those of our own.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]  # it has no types
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]  # no types either
from sklearn.gaussian_process import GaussianProcessRegressor  # type: ignore[import-untyped]  # no types either
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # type: ignore[import-untyped]  # no types either

from tune_cnn.search.curve_model.gaussian_process import JITTER, LENGTH, LENGTH_SPREAD, NOISE_SPREAD, NOISE_START, STEPS

LEAST_SIGNAL = 0.05  # of an output's variance, as in our own
BOUNDS = {"length": np.exp([-3.0, 5.0]), "noise": np.exp([-12.0, 0.5]), "signal": (1e-6, 1e3)}


class GaussianProcess:
    """As `tune_cnn.search.curve_model.gaussian_process.GaussianProcess`."""

    def __init__(self, dimensions: int) -> None:
        self._prior_d = np.full(dimensions, np.log(LENGTH * np.sqrt(max(dimensions, 1))))
        self.log_lengths_d = self._prior_d.copy()
        self.log_noise = NOISE_START
        self._signal = 1.0

    def tune(self, inputs_nd: np.ndarray, targets_nk: np.ndarray, *, steps: int = STEPS) -> None:
        """L-BFGS on the log posterior, so many iterations at most, from where the last one ended."""
        lengths = Matern(np.exp(self.log_lengths_d), length_scale_bounds=BOUNDS["length"], nu=2.5)
        noise = WhiteKernel(np.exp(self.log_noise), noise_level_bounds=BOUNDS["noise"])
        kernel = ConstantKernel(self._signal, BOUNDS["signal"]) * (lengths + noise)
        process = GaussianProcessRegressor(
            kernel, alpha=JITTER, normalize_y=True, optimizer=self._maximised(targets_nk.shape[1], steps)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: the feature has no effect
            process.fit(inputs_nd, targets_nk)
        self._signal = float(np.exp(process.kernel_.theta[0]))
        self.log_lengths_d, self.log_noise = process.kernel_.theta[1:-1], float(process.kernel_.theta[-1])

    def _maximised(self, outputs: int, steps: int) -> Callable[..., tuple[np.ndarray, float]]:
        """The logarithms that kernels count in are those of the priors; the outputs' likelihoods are averaged."""
        centre = np.array([0.0, *self._prior_d, NOISE_START])
        tightness = np.array([0.0, *np.full(len(self._prior_d), 1 / LENGTH_SPREAD), 1 / NOISE_SPREAD])

        def optimizer(loss: Callable[..., tuple[float, np.ndarray]], start: np.ndarray, bounds: np.ndarray):
            def posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
                value, slope = loss(theta, eval_gradient=True)
                away = (theta - centre) * tightness
                return value / outputs + 0.5 * float(away @ away), slope / outputs + away * tightness

            found = minimize(posterior, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": steps})
            return found.x, found.fun

        return optimizer

    def predict(
        self, inputs_nd: np.ndarray, targets_nk: np.ndarray, extra_nk: np.ndarray, at_md: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) mean and standard deviation; outputs with the same noise are one process."""
        noise_nk = np.exp(self.log_noise) + JITTER + extra_nk / (targets_nk.std(axis=0) + 1e-9) ** 2
        means_mk, doubts_mk = np.empty((2, len(at_md), targets_nk.shape[1]))
        for columns in _alike(noise_nk):
            process = GaussianProcessRegressor(
                Matern(np.exp(self.log_lengths_d), nu=2.5),
                alpha=noise_nk[:, columns[0]],
                normalize_y=True,
                optimizer=None,
            ).fit(inputs_nd, targets_nk[:, columns])
            means, doubts = process.predict(at_md, return_std=True)
            signal_k = (process.alpha_ * process.y_train_).reshape(len(inputs_nd), -1).sum(axis=0) / len(inputs_nd)
            means_mk[:, columns] = means.reshape(len(at_md), -1)
            doubts_mk[:, columns] = doubts.reshape(len(at_md), -1) * np.sqrt(np.maximum(signal_k, LEAST_SIGNAL))
        return means_mk, doubts_mk


def _alike(noise_nk: np.ndarray) -> list[Sequence[int]]:
    """Columns in groups with the same values."""
    groups: dict[bytes, list[int]] = {}
    for at, noise_n in enumerate(noise_nk.T):
        groups.setdefault(noise_n.tobytes(), []).append(at)
    return list(groups.values())
