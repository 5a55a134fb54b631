"""An epoch's point carries what its energy and GPU hours cost, by the job's prices; a device's readings are made up."""

import pytest
from ranks import digits_job, train

from tune_cnn.spec import Prices
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.rank import RankTraining


def test_every_epoch_is_priced_and_nothing_is_without_prices(tmp_path, monkeypatch):
    """Both are sums over the trial so far, as energy and seconds are."""
    read, readings = Meters.read, iter([(3.6e6, 1800.0), (7.2e6, 3600.0), (3.6e6, 1800.0)])

    def with_a_gpu(meters: Meters) -> dict[str, float]:
        energy_j, seconds = next(readings)
        return read(meters) | {"gpu_energy_j": energy_j, "gpu_seconds": seconds}

    monkeypatch.setattr(Meters, "read", with_a_gpu)
    prices = Prices(per_kwh=0.5, per_gpu_hour=2.0, carbon_g_per_kwh=300.0)
    results, _ = train(RankTraining(), digits_job(tmp_path, job={"prices": prices}))
    assert [r.metrics["cost"] for r in results] == pytest.approx([1.5, 3.0])
    assert [r.metrics["carbon_g"] for r in results] == pytest.approx([300.0, 600.0])
    without, _ = train(RankTraining(), digits_job(tmp_path), epochs=1)
    assert not {"cost", "carbon_g"} & set(without[0].metrics)
