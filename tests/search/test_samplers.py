"""Samplers take the arguments of the spec, and refuse the others."""

import warnings

import pytest
from searched import SAMPLERS

from tune_cnn.errors import SpecError
from tune_cnn.search.samplers import build_sampler


def test_arguments_reach_the_sampler_and_wrong_ones_are_refused(spec):
    """A multivariate of false takes the groups along; what Optuna refuses is a SpecError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_sampler("tpe", {"multivariate": False}, seed=0)
        for name in SAMPLERS:
            build_sampler(name, {}, seed=0)
    assert build_sampler("nsga2", {"population_size": 7}, seed=0).population_size == 7
    with pytest.raises(SpecError, match="sampler: random refuses"):
        build_sampler("random", {"population_size": 7}, seed=0)
    with pytest.raises(SpecError, match="sampler: qmc refuses"):
        build_sampler("qmc", {"qmc_type": "lattice"}, seed=0)
    with pytest.raises(SpecError, match="sampler: curve_ehvi takes no population_size"):
        spec(sampler={"population_size": 7})
