"""`cost` and `carbon_g`: reckoned from energy and GPU hours by the prices of a spec, absent where a part is missing."""

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.front.prediction import predict
from tune_cnn.metrics import METRICS, Where
from tune_cnn.spec import Prices, parse_spec
from tune_cnn.spec.prices import priced

GOOD = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 3}}
MEASURED = {"gpu_energy_j": 7.2e6, "gpu_seconds": 1800.0}  # 2 kWh, half an hour


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ({"per_kwh": 0.25}, {"cost": 0.5}),
        ({"per_gpu_hour": 3.0}, {"cost": 1.5}),
        ({"per_kwh": 0.25, "per_gpu_hour": 3.0}, {"cost": 2.0}),
        ({"carbon_g_per_kwh": 400.0}, {"carbon_g": 800.0}),
        ({"per_kwh": 0.25, "carbon_g_per_kwh": 400.0}, {"cost": 0.5, "carbon_g": 800.0}),
    ],
)
def test_energy_and_gpu_hours_are_priced(prices, found):
    assert priced(MEASURED, Prices(**prices)) == pytest.approx(found)


def test_what_a_part_is_missing_of_is_absent():
    """A shared GPU has no energy of one trial: a cost without it would look cheap."""
    shared = {"gpu_seconds": 1800.0}
    assert priced(shared, Prices(per_kwh=0.25, per_gpu_hour=3.0, carbon_g_per_kwh=400.0)) == {}
    assert priced(shared, Prices(per_gpu_hour=3.0)) == {"cost": 1.5}
    assert priced(MEASURED, None) == priced({}, Prices(per_gpu_hour=3.0)) == {}


@pytest.mark.parametrize(
    ("section", "name", "prices", "said"),
    [
        ("objectives", "cost", None, "objectives: cost needs a price"),
        ("objectives", "cost", {"carbon_g_per_kwh": 400}, "objectives: cost needs a price"),
        ("objectives", "carbon_g", {"per_kwh": 0.3}, "objectives: carbon_g needs the carbon intensity"),
        ("constraints", "cost", None, "constraints: cost needs a price"),
    ],
)
def test_a_metric_without_its_price_is_refused(section, name, prices, said):
    """As an objective and as a constraint, with the keys that would give it."""
    wanted = ["accuracy", name] if section == "objectives" else {name: {"max": 1.0}}
    with pytest.raises(SpecError, match=rf"{said}.*set prices\."):
        parse_spec({**GOOD, section: wanted, **({"prices": prices} if prices else {})})


def test_cost_has_the_currency_and_the_hardware_that_its_prices_ask_for():
    """By hours alone a share of a GPU has a cost; energy is a whole GPU's."""

    def cost(**prices: object):
        return parse_spec({**GOOD, "objectives": ["accuracy", "cost"], "prices": prices}).objective_metrics[1]

    by_hour, by_energy = cost(per_gpu_hour=2.0), cost(per_kwh=0.3, currency="EUR")
    assert (by_hour.unit, by_hour.where) == (METRICS["cost"].unit, Where.CUDA)
    assert (by_energy.unit, by_energy.where) == ("EUR", Where.WHOLE_GPU)
    assert predict([1.0, 2.0, 90.0], by_energy).low >= 0.0, "no cost is below zero"
