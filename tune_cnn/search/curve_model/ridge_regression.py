"""A straight line through rows of numbers (Hoerl & Kennard, 1970, https://doi.org/10.1080/00401706.1970.10488634)."""

import numpy as np

RIDGE = 1e-2


class RidgeRegression:
    """Ridge regression; extrapolates, as a Gaussian process would not."""

    def __init__(self, rows_nd: np.ndarray, targets_n: np.ndarray) -> None:
        self._centre_d, self._mean = rows_nd.mean(axis=0), float(targets_n.mean())
        centred_nd = rows_nd - self._centre_d
        gram_dd = centred_nd.T @ centred_nd + RIDGE * np.eye(centred_nd.shape[1])
        self.slope_d = np.linalg.solve(gram_dd, centred_nd.T @ (targets_n - self._mean))

    def at(self, rows_md: np.ndarray) -> np.ndarray:
        predicted_m: np.ndarray = (rows_md - self._centre_d) @ self.slope_d + self._mean
        return predicted_m
