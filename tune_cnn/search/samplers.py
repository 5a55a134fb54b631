"""Optuna's samplers by name."""

import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from tune_cnn.errors import SpecError
from tune_cnn.untyped import Plain

OURS = "curve_ehvi"  # proposes by itself: what it chose is queued, and whoever serves the queue will do

_KINDS: dict[str, tuple[Callable[..., BaseSampler], dict[str, Plain]]] = {
    "tpe": (TPESampler, {"multivariate": True, "group": True}),
    "gp": (GPSampler, {"warn_independent_sampling": False}),
    "nsga2": (NSGAIISampler, {}),
    "random": (RandomSampler, {}),
    # Unscrambled, the sequence begins in the space's corner and knows no seed: a resumed search would repeat it.
    "qmc": (QMCSampler, {"scramble": True, "warn_independent_sampling": False, "warn_asynchronous_seeding": False}),
}


def build_sampler(name: str, arguments: Mapping[str, Plain], *, seed: int) -> BaseSampler:
    """The sampler with our defaults under the user's arguments; raises SpecError for those that it doesn't take."""
    if name == OURS:
        return RandomSampler(seed=seed)
    kind, defaults = _KINDS[name]
    if arguments.get("multivariate") is False:
        defaults = {**defaults, "group": False}  # groups are of the multivariate TPE alone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate and group are, since 2.2
        try:
            return kind(seed=seed, **{**defaults, **arguments})
        except (TypeError, ValueError) as error:
            raise SpecError(f"sampler: {name} refuses {dict(arguments)}: {error}") from None


def generation_attrs(sampler: BaseSampler, position: int) -> dict[str, Plain]:
    """What a genetic sampler must find on a past trial to breed from it: the generation that it belonged to."""
    if not isinstance(sampler, NSGAIISampler) or not sampler.population_size:
        return {}
    return {sampler._get_generation_key(): position // sampler.population_size}
