"""A straight line through rows of numbers, sure enough of itself only where rows like these were seen."""

import numpy as np

RIDGE = 1e-2


class RidgeRegression:
    """Ridge regression; extrapolates, as a Gaussian process would not."""

    def __init__(self, rows_nd: np.ndarray, targets_n: np.ndarray) -> None:
        self._centre_d, self._mean = rows_nd.mean(axis=0), float(targets_n.mean())
        centred_nd = rows_nd - self._centre_d
        gram_dd = centred_nd.T @ centred_nd + RIDGE * np.eye(centred_nd.shape[1])
        self.slope_d = np.linalg.solve(gram_dd, centred_nd.T @ (targets_n - self._mean))
        left_n = targets_n - self.at(rows_nd)
        self.doubt = float(np.sqrt((left_n**2).sum() / max(1, len(left_n) - rows_nd.shape[1])))

    def at(self, rows_md: np.ndarray) -> np.ndarray:
        predicted_m: np.ndarray = (rows_md - self._centre_d) @ self.slope_d + self._mean
        return predicted_m
