"""What several probes of one configuration say together, and what of it a search may build upon."""

import pytest

from tune_cnn.spec.costs import Cost
from tune_cnn.study.searching.probing import probe_of, to_keep, together
from tune_cnn.training.messages import Probe
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies

FULL = Probe(reason="out of memory: asked for 2 GiB", out_of_memory=True)
DEAD = Probe(reason="its process died")
PARAMS = {"batch_size": 64, "learning_rate": 0.1}


def fitting(step_time_s: float, peak_memory_mib: float) -> Probe:
    return Probe(cost=Cost(step_time_s=step_time_s, peak_memory_mib=peak_memory_mib))


def test_probes_beside_each_other_say_the_usual_time_and_the_largest_memory() -> None:
    found = together([fitting(0.1, 5.0), fitting(0.2, 7.0), fitting(9.0, 6.0), DEAD])
    assert found == fitting(0.2, 7.0)


@pytest.mark.parametrize("others", [[fitting(0.1, 5.0)], [DEAD], []])
def test_half_of_them_out_of_memory_is_too_much(others: list[Probe]) -> None:
    """Whatever else went wrong may have come of it."""
    assert together([*others, FULL]) == FULL


def test_an_error_is_told_with_its_kind_in_one_line() -> None:
    """As of a device that is of no more use."""
    assert probe_of(RuntimeError("CUDA error: illegal\nCompile with")).reason == "RuntimeError: CUDA error: illegal"


def test_a_search_is_told_what_memory_says_and_nothing_of_other_failures() -> None:
    fits, no = to_keep(PARAMS, fitting(0.1, 5.0), {}), to_keep(PARAMS, FULL, {})
    assert fits is not None and fits.reason is None and fits.cost.peak_memory_mib == 5.0
    assert no is not None and no.reason == FULL.reason
    assert to_keep(PARAMS, DEAD, {}) is None


def test_a_strategy_that_changes_the_net_later_keeps_only_that_it_does_not_fit() -> None:
    """Its first epoch is all that a probe sees."""
    changing = set()
    for name, card in cards_of(find_strategies()).items():
        params = {**PARAMS, f"strategies.{name}": True}
        if to_keep(params, fitting(0.1, 5.0), {name: card}) is None:
            changing.add(name)
        assert to_keep(params, FULL, {name: card}) is not None
    shapes = {"early_bird", "layer_replacement", "lottery_ticket", "net2net", "prunetrain"}
    sides = {"efficient_train", "kernel_rescaling", "progressive_resizing", "wavelet_stem"}
    assert changing == shapes | sides | {"batch_growth", "layer_freezing"}
