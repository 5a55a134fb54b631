"""What a cluster is asked for follows from the spec."""

import pytest

from study.manifests.made_up_specs import source
from tune_cnn.errors import InputError, ResourceError
from tune_cnn.study.manifests.layout import layout


@pytest.mark.parametrize(
    ("resources", "nodes", "slots", "expected"),
    [
        ({}, None, None, (1, 1, 1, 0)),
        ({}, 3, None, (3, 1, 1, 0)),  # a slot a node, where nobody says how many
        ({"slots": 8, "cpus_per_trial": 4}, 2, None, (2, 4, 16, 0)),
        ({"slots": 5}, 2, None, (2, 3, 3, 0)),
        ({"slots": 8}, 2, 4, (2, 2, 2, 0)),
        ({"slots": 6, "gpus_per_rank": 0.25}, None, None, (1, 6, 6, 2)),
        ({"slots": 6, "gpus_per_rank": 0.3}, None, None, (1, 6, 6, 2)),  # 0.3 goes three times into a device
        ({"slots": 4, "gpus_per_rank": [0.25, 0.5, 1]}, None, None, (1, 4, 4, 4)),  # of the phases, the one with most
        ({"slots": 2, "gpus_per_rank": 1, "ranks": 2, "cpus_per_trial": 8}, 2, None, (2, 1, 8, 2)),
        ({"accelerator": "A100", "gpus_per_rank": None}, None, None, (1, 1, 1, 1)),  # who names a GPU wants one
    ],
)
def test_nodes_hold_whole_trials(resources, nodes, slots, expected):
    """(nodes, slots a node, cores a node, GPUs a node): shares of a GPU are rounded up to devices."""
    got = layout(source(resources).spec.resources, nodes=nodes, slots=slots)
    assert (got.nodes, got.slots_per_node, got.cpus_per_node, got.gpus_per_node) == expected


@pytest.mark.parametrize(
    ("resources", "nodes", "slots", "error", "says"),
    [
        ({"gpus_per_rank": None}, None, None, ResourceError, "resources.gpus_per_rank: a cluster must be told"),
        ({"slots": 2}, 3, None, InputError, "got 3 nodes for 2 slots; give --nodes 2 or fewer"),
        ({"slots": 2}, None, 3, InputError, "at most resources.slots=2, got 3"),
    ],
)
def test_what_is_open_or_contradicts_itself_is_refused(resources, nodes, slots, error, says):
    with pytest.raises(error, match=says):
        layout(source(resources).spec.resources, nodes=nodes, slots=slots)
