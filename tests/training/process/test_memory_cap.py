"""A share of a GPU's memory leaves room for every slot's context."""

import pytest

from tune_cnn.training.process.memory_share import CONTEXT_MIB, memory_fraction


@pytest.mark.parametrize("context_mib", [None, 350.0])
@pytest.mark.parametrize("slots", [1, 2, 4, 10])
def test_all_slots_fit_with_their_contexts(slots, context_mib):
    """All allocators full and all contexts there, as measured or as assumed: exactly the device."""
    total_mib = 80_000.0
    fraction = memory_fraction(1 / slots, total_mib=total_mib, slots=slots, context_mib=context_mib)
    assert slots * (fraction * total_mib + (context_mib or CONTEXT_MIB)) == pytest.approx(total_mib)


def test_a_device_too_small_for_its_contexts_leaves_nothing():
    """Never a negative share, which torch would refuse with a message about something else."""
    assert memory_fraction(0.1, total_mib=4000, slots=10) == 0.0
