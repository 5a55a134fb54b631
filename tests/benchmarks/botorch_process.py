"""BoTorch's Gaussian process behind the interface of the search's own, for simulate.py to compare.

Needs `uv pip install botorch`, which is no dependency. The same model as our own: `SingleTaskGP` with Matérn-5/2, a
length for each feature, lengths and noise shared by the outputs, standardised outcomes, a signal for each, the same
priors, warm starts, and the variances that the targets have on top. With equal lengths and noise the predictions are
those of our own.
"""

import warnings

import gpytorch
import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from botorch.optim.closures import get_loss_closure_with_grads
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.means import ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior

from tune_cnn.search.curve_model.gaussian_process import JITTER, LENGTH, LENGTH_SPREAD, NOISE_SPREAD, NOISE_START, STEPS

LEAST_SIGNAL = 0.05  # of an output's variance, as in our own
AT_ONCE = 100  # rows in a prediction
LENGTHS = Interval(float(np.exp(-3.0)), float(np.exp(5.0)), transform=torch.exp, inv_transform=torch.log)


class GaussianProcess:
    """As `tune_cnn.search.curve_model.gaussian_process.GaussianProcess`."""

    def __init__(self, dimensions: int) -> None:
        self._prior_d = np.full(dimensions, np.log(LENGTH * np.sqrt(max(dimensions, 1))))
        self.log_lengths_d = self._prior_d.copy()
        self.log_noise = NOISE_START
        self._signal = 1.0

    def tune(self, inputs_nd: np.ndarray, targets_nk: np.ndarray, *, steps: int = STEPS) -> None:
        """BoTorch's L-BFGS on the log posterior, so many iterations at most, from where the last one ended."""
        targets_nk = (targets_nk - targets_nk.mean(axis=0)) / (targets_nk.std(axis=0) + 1e-9)
        positive = {"transform": torch.exp, "inv_transform": torch.log}  # fitted by their logarithms, as the priors are
        likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-8, **positive))
        kernel = ScaleKernel(self._matern(), outputscale_constraint=GreaterThan(1e-8, **positive))
        model = self._model(inputs_nd, targets_nk, likelihood, kernel)
        kernel.outputscale, likelihood.noise = self._signal, np.exp(self.log_noise) * self._signal
        lengths_prior = NormalPrior(torch.tensor(self._prior_d), torch.tensor(LENGTH_SPREAD))
        kernel.base_kernel.register_prior("log_lengths", lengths_prior, lambda part: part.lengthscale.log())
        noise_prior = NormalPrior(NOISE_START, NOISE_SPREAD)
        model.register_prior("log_noise", noise_prior, lambda whole: _log_noise(whole))
        mll = ExactMarginalLogLikelihood(likelihood, model).train()
        # The closure is named, as BoTorch would fit each output by itself, and the lengths are shared.
        parameters = {name: one for name, one in mll.named_parameters() if one.requires_grad}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)  # the iterations ran out
            closure = get_loss_closure_with_grads(mll, parameters=parameters)
            fit_gpytorch_mll_scipy(mll, parameters=parameters, closure=closure, options={"maxiter": steps})
        self._signal = kernel.outputscale.item()
        self.log_noise = _log_noise(model).item()
        self.log_lengths_d = kernel.base_kernel.lengthscale.detach().log().numpy().ravel()

    def predict(
        self, inputs_nd: np.ndarray, targets_nk: np.ndarray, extra_nk: np.ndarray, at_md: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) mean and standard deviation; all outputs in one batch."""
        mean_k, scale_k = targets_nk.mean(axis=0), targets_nk.std(axis=0) + 1e-9
        noise_kn = torch.tensor((np.exp(self.log_noise) + JITTER + extra_nk / scale_k**2).T)
        kernel = self._matern()
        likelihood = FixedNoiseGaussianLikelihood(noise=noise_kn if len(scale_k) > 1 else noise_kn[0])
        model = self._model(inputs_nd, (targets_nk - mean_k) / scale_k, likelihood, kernel).eval()
        with torch.no_grad(), gpytorch.settings.fast_pred_var():  # exact for so few inputs, and quicker
            # Called itself and on parts of the rows: `posterior` of all takes four times as long (all with all others).
            told = [model(part_md) for part_md in torch.tensor(at_md).split(AT_ONCE)]
            mean_mk = np.concatenate([one.mean.reshape(len(scale_k), -1).T.numpy() for one in told])
            variance_mk = np.concatenate([one.variance.reshape(len(scale_k), -1).T.numpy() for one in told])
            weights_kn = model.prediction_strategy.mean_cache.numpy().reshape(len(scale_k), -1)
        signal_k = (weights_kn * model.train_targets.numpy().reshape(len(scale_k), -1)).mean(axis=1)
        doubt_mk = np.sqrt(np.maximum(signal_k, LEAST_SIGNAL) * np.maximum(variance_mk, 1e-9))
        return mean_k + scale_k * mean_mk, scale_k * doubt_mk

    def _matern(self) -> MaternKernel:
        kernel = MaternKernel(nu=2.5, ard_num_dims=len(self.log_lengths_d), lengthscale_constraint=LENGTHS)
        kernel.double().lengthscale = torch.tensor(np.exp(self.log_lengths_d))
        return kernel

    def _model(self, inputs_nd, targets_nk, likelihood, kernel) -> SingleTaskGP:
        return SingleTaskGP(
            torch.tensor(inputs_nd),
            torch.tensor(targets_nk),
            likelihood=likelihood.double(),
            covar_module=kernel.double(),
            mean_module=ZeroMean(),
            outcome_transform=None,
        )


def _log_noise(model: SingleTaskGP) -> torch.Tensor:
    """Of its variance against the signal's."""
    return (model.likelihood.noise / model.covar_module.outputscale).log()
