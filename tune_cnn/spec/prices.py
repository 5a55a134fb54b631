"""What energy and hardware cost, and a trial's `cost` and `carbon_g` reckoned by it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from pydantic import Field, model_validator

from tune_cnn.errors import SpecError
from tune_cnn.metrics import METRICS, Metric, Where
from tune_cnn.spec.parts import SpecPart

J_PER_KWH = 3.6e6
S_PER_HOUR = 3600
COST, CARBON = "cost", "carbon_g"


class Prices(SpecPart):
    """Prices and carbon intensity, for the metrics `cost` and `carbon_g`."""

    currency: str = Field("", description="unit in which `cost` is shown, e.g. EUR")
    per_gpu_hour: float | None = Field(None, gt=0, description="price of a whole GPU for an hour of training")
    per_kwh: float | None = Field(None, gt=0, description="price of a kilowatt-hour, for gpu_energy_j")
    carbon_g_per_kwh: float | None = Field(
        None, gt=0, description="carbon intensity of the electricity: grams of CO2 equivalent a kilowatt-hour"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.per_gpu_hour is None and self.per_kwh is None and self.carbon_g_per_kwh is None:
            raise ValueError(
                "needs per_gpu_hour, per_kwh, carbon_g_per_kwh or more of them, as in {per_kwh: 0.30}; got none"
            )
        return self

    @property
    def metrics(self) -> dict[str, Metric]:
        """`cost` as these prices make it: in their currency, and for a shared GPU where no energy is in it."""
        if self.per_gpu_hour is None and self.per_kwh is None:
            return {}
        of_table = METRICS[COST]
        where = Where.WHOLE_GPU if self.per_kwh is not None else of_table.where
        return {COST: replace(of_table, unit=self.currency or of_table.unit, where=where)}


def priced(metrics: Mapping[str, float], prices: Prices | None) -> dict[str, float]:
    """`cost` and `carbon_g` of a trial's metrics over all ranks; absent where a part of them isn't measured."""
    if prices is None:
        return {}
    energy_j, gpu_seconds = metrics.get("gpu_energy_j"), metrics.get("gpu_seconds")
    kwh = None if energy_j is None else energy_j / J_PER_KWH
    gpu_hours = None if gpu_seconds is None else gpu_seconds / S_PER_HOUR
    parts = [
        None if amount is None else amount * price
        for amount, price in ((kwh, prices.per_kwh), (gpu_hours, prices.per_gpu_hour))
        if price is not None
    ]
    known = [part for part in parts if part is not None]
    found = {COST: sum(known)} if parts and len(known) == len(parts) else {}
    if kwh is not None and prices.carbon_g_per_kwh is not None:
        found[CARBON] = kwh * prices.carbon_g_per_kwh
    return found


def measured_by(name: str, prices: Prices | None) -> str:
    """The metric that must be measured for this one: its energy where it has a price, else the metric itself."""
    by_energy = name == CARBON or (name == COST and prices is not None and prices.per_kwh is not None)
    return "gpu_energy_j" if by_energy else name


def check_priced(name: str, prices: Prices | None, *, where: str) -> None:
    """SpecError where a metric needs a price that the spec doesn't give."""
    if name == COST and (prices is None or not prices.metrics):
        raise SpecError(
            f"{where}: {COST} needs a price, and the spec has none; set prices.per_gpu_hour (of a whole GPU), "
            "prices.per_kwh (of its energy) or both"
        )
    if name == CARBON and (prices is None or prices.carbon_g_per_kwh is None):
        raise SpecError(
            f"{where}: {CARBON} needs the carbon intensity of your electricity, and the spec has none; set "
            "prices.carbon_g_per_kwh"
        )
