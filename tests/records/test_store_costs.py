"""The store's costs: kept by what was trained on what, known of every configuration that costs the same."""

from pathlib import Path

from tune_cnn.records.costs import KnownCost
from tune_cnn.records.store import Store
from tune_cnn.spec.costs import Cost

SETUP = {"data": "digits", "cpu": "some CPU"}


def test_a_cost_is_known_to_whatever_costs_the_same(tmp_path: Path) -> None:
    """The learning rate decides no cost: what one trial cost, another one with a rate of its own is known to cost."""
    store = Store(tmp_path)
    cost = Cost(step_time_s=0.5, steps_per_epoch=10, eval_time_s=None, peak_memory_mib=12.5)
    store.costs.keep(SETUP, [KnownCost(params={"batch_size": 64, "learning_rate": 0.1}, cost=cost)])
    store.close()
    again = Store(tmp_path)
    (known,) = again.costs.known(SETUP).values()
    assert known == KnownCost(params={"batch_size": 64, "learning_rate": 0.1}, cost=cost)
    again.costs.keep(SETUP, [KnownCost(params={"batch_size": 64, "learning_rate": 9.0}, cost=Cost(), reason="full")])
    (known,) = again.costs.known(SETUP).values()
    assert known.reason == "full"
    again.close()


def test_other_hardware_knows_nothing_of_a_cost(tmp_path: Path) -> None:
    """A cost holds for the data, model and hardware it was measured on, and for no other."""
    store = Store(tmp_path)
    store.costs.keep(SETUP, [KnownCost(params={"batch_size": 64}, cost=Cost(step_time_s=1.0))])
    assert store.costs.known({**SETUP, "cpu": "another"}) == {}
    assert len(store.costs.known(SETUP)) == 1
    store.close()
