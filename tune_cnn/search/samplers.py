"""Optuna's samplers by name."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from tune_cnn.errors import SpecError

_KINDS: dict[str, tuple[Callable[..., BaseSampler], dict[str, Any]]] = {
    "tpe": (TPESampler, {"multivariate": True, "group": True, "warn_independent_sampling": False}),
    "gp": (GPSampler, {"warn_independent_sampling": False}),
    "nsga2": (NSGAIISampler, {}),
    "random": (RandomSampler, {}),
    "qmc": (QMCSampler, {"warn_independent_sampling": False, "warn_asynchronous_seeding": False}),
}


def build_sampler(name: str, arguments: Mapping[str, Any], *, seed: int) -> BaseSampler:
    """The sampler with our defaults under the user's arguments; raises SpecError for those that it doesn't take."""
    kind, defaults = _KINDS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate and group are, since 2.2
        try:
            return kind(seed=seed, **{**defaults, **arguments})
        except (TypeError, ValueError) as error:
            raise SpecError(f"sampler: {name} refuses {dict(arguments)}: {error}") from None
