"""Metrics that a trial's share of the hardware can't give are refused before anything starts."""

import pytest

from study.made_up import spec_with
from tune_cnn.errors import ResourceError
from tune_cnn.study.checks.preflight import check_measurable


@pytest.mark.parametrize(
    ("objective", "prices", "share", "said"),
    [
        ("cost", {"per_gpu_hour": 2.0}, 0.0, "objectives: cost exists only on a GPU, and trials have none"),
        ("cost", {"per_kwh": 0.3}, 0.25, r"cost by prices.per_kwh is counted for a whole GPU.*or leave prices.per_kwh"),
        ("carbon_g", {"carbon_g_per_kwh": 400.0}, 0.25, r"carbon_g is counted for a whole GPU.*gpus_per_rank: 1"),
        ("gpu_energy_j", None, 0.25, r"gpu_energy_j is counted for a whole GPU, and trials share a GPU"),
        ("gpu_seconds", None, 0.0, "gpu_seconds exists only on a GPU"),
    ],
)
def test_what_a_share_can_not_give_is_refused(objective, prices, share, said):
    spec = spec_with(objectives=["accuracy", objective], **({"prices": prices} if prices else {}))
    with pytest.raises(ResourceError, match=said):
        check_measurable(spec, share)
    check_measurable(spec, 1.0)


def test_hours_of_a_share_have_a_price():
    """A quarter of a GPU for an hour is a quarter of its price."""
    check_measurable(spec_with(objectives=["accuracy", "cost"], prices={"per_gpu_hour": 2.0}), 0.25)
