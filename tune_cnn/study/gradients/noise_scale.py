"""Gradient noise scale and the critical batch that it implies (McCandlish, Kaplan, Amodei & the OpenAI Dota team, "An
empirical model of large-batch training", 2018, https://arxiv.org/abs/1812.06162).

The simple noise scale tr(Σ) / |G|² is the batch at which the noise of a gradient is as large as the gradient; training
with less gains almost a step for a step from a larger batch, with more hardly any. From gradients of two batches, here
random mini-batches of b images and the whole set of N:

    tr(Σ) = (E|g_b|² - |G|²) / (1/b - 1/N)        |G|² = |G_N|²

The whole set is the truth here, not a draw from one, so |G|² needs none of the paper's correction: it can't turn
negative where the training set is almost learnt.
"""

import numpy as np

from tune_cnn.reports.gradients_report import Float64, Interval
from tune_cnn.study.gradients.statistics import SEED, drawn_means, interval_of


def noise_scale(norm_k: Float64, full_norm: float, *, batch_size: int, images: int) -> Interval:
    """In images, of mini-batches of one size that were cut at random from all images; intervals over mini-batches."""
    factor = 1 / (1 / batch_size - 1 / images) / full_norm**2
    squares = norm_k**2
    value = float((squares.mean() - full_norm**2) * factor)
    if len(norm_k) < 2:
        return Interval(value=value, low=None, high=None)
    drawn = (drawn_means(squares, np.random.default_rng(SEED)) - full_norm**2) * factor
    return interval_of(value, drawn)
