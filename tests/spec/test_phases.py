"""Shares of a GPU and limits of its power are searched one after another: every share at every limit."""

import pytest

from tune_cnn.spec import Resources


@pytest.mark.parametrize(
    ("resources", "phases"),
    [
        ({}, [(None, None)]),
        ({"gpus_per_rank": 0.5}, [(0.5, None)]),
        ({"gpus_per_rank": [0.25, 1]}, [(0.25, None), (1, None)]),
        ({"power_limit_w": 200}, [(None, 200)]),
        ({"power_limit_w": [200, 250]}, [(None, 200), (None, 250)]),
        (
            {"gpus_per_rank": [0.5, 1], "power_limit_w": [200, 300]},
            [(0.5, 200), (0.5, 300), (1, 200), (1, 300)],
        ),
    ],
)
def test_phases(resources, phases):
    assert [(phase.gpus_per_rank, phase.power_limit_w) for phase in Resources(**resources).phases] == phases


def test_types_of_accelerator_are_the_outermost_phases():
    """Every share at every limit on one type, then on the next."""
    resources = Resources(accelerator=["A", "B"], gpus_per_rank=[0.5, 1])
    assert [(p.accelerator, p.gpus_per_rank) for p in resources.phases] == [("A", 0.5), ("A", 1), ("B", 0.5), ("B", 1)]
    assert resources.accelerators == ["A", "B"]
    assert Resources(accelerator="A").accelerators == ["A"]
    assert Resources().accelerators == []
