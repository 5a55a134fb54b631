"""What Ray doesn't tell of a node's GPUs: MIG slices, and cards of two types."""

import os
import re

import pytest
from fake_nvml import FakeCard, FakeNvml

from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.training.meters.cards import Card
from tune_cnn.trials.cluster.cards import check_cards, judged, show_slices, slices_of

SLICE = "NVIDIA A100 MIG 3g.20gb"
CUT = FakeCard("GPU-a", slices=[FakeCard("MIG-1", SLICE), FakeCard("MIG-2", SLICE)])
WHOLE = FakeCard("GPU-b")


@pytest.mark.parametrize(
    ("cards", "names", "shown"),
    [
        ([WHOLE], None, None),
        ([WHOLE], "0", None),
        ([], None, None),
        ([CUT], None, ["MIG-1", "MIG-2"]),
        ([CUT], "0", ["MIG-1", "MIG-2"]),
        ([CUT], "GPU-a", ["MIG-1", "MIG-2"]),
        ([CUT], "MIG-2", ["MIG-2"]),
        ([CUT, WHOLE], "1", None),
        ([CUT, WHOLE], None, ["MIG-1", "MIG-2", "GPU-b"]),
        ([FakeCard("GPU-a", slices=[]), CUT], "1", ["MIG-1", "MIG-2"]),
    ],
)
def test_a_ray_of_this_machine_counts_slices_where_cards_are_cut(monkeypatch, cards, names, shown):
    """Each has its name in CUDA_VISIBLE_DEVICES, from which Ray gives every trial one; else all is left as it was."""
    FakeNvml(cards).install(monkeypatch)
    if names is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert show_slices() == ({} if shown is None else {"num_gpus": len(shown)})
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == (names if shown is None else ",".join(shown))


def test_a_card_that_is_cut_and_has_no_slice_is_no_gpu():
    assert slices_of([Card(uuid="GPU-a", name="A", is_cut=True)]) == []


A, B = Card(uuid="GPU-a", name="NVIDIA A100"), Card(uuid="GPU-b", name="NVIDIA T400")
SLICED = Card(
    uuid="GPU-c", name="NVIDIA A100", is_cut=True,
    slices=(Card(uuid="MIG-1", name="1g.5gb"), Card(uuid="MIG-2", name="1g.5gb")),
)  # fmt: skip
UNEVEN = Card(
    uuid="GPU-d", name="X", is_cut=True, slices=(Card(uuid="MIG-3", name="1g"), Card(uuid="MIG-4", name="3g"))
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([A, B], "node n mixes NVIDIA A100 and NVIDIA T400, .* by CUDA_VISIBLE_DEVICES=GPU-a"),
        ([B, A, A], "by CUDA_VISIBLE_DEVICES=GPU-a,GPU-a"),
        ([UNEVEN], "mixes 1g and 3g, .*=MIG-3"),
        ([A, SLICED], "mixes 1g.5gb and NVIDIA A100"),
    ],
)
def test_a_node_with_two_types_of_card_is_refused(found, said):
    """Ray names a node by its first card; uneven slices are types too."""
    with pytest.raises(ResourceError, match=said):
        judged([("n", 9, found)])


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("n", 2, [A, A])], None),
        ([("n", 1, [A, B])], None),
        ([("n", 1, [A]), ("m", 1, [A])], None),
        ([("n", 2, [SLICED])], None),
        ([("n", 1, [A]), ("m", 1, TimeoutError("no answer"))], None),
        ([("n", 0, [])], None),
        ([("n", 1, [SLICED])], "Ray counts 1 GPUs, .* 2 MIG slices; .*CUDA_VISIBLE_DEVICES=MIG-1,MIG-2 --num-gpus=2"),
        ([("n", 1, [A]), ("m", 1, [B])], r"not all of one kind.*NVIDIA A100 \(on n\), NVIDIA T400 \(on m\)"),
    ],
)
def test_nodes_that_ray_misjudges_are_noted(nodes, said):
    """Slices that it counts as cards, and cards that are alike for it alone."""
    notes = judged(nodes)
    if said is None:
        assert notes == []
    else:
        (note,) = notes
        assert re.search(said, note)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_node_is_asked_for_its_cards(one_ray, is_local):
    """Here, or through Ray by the resource that only that node has; those of another type than the study's are not."""
    assert check_cards(Resources(), is_local=is_local) == []
    assert check_cards(Resources(accelerator="H9"), is_local=is_local) == []
    assert check_cards(Resources(gpus_per_rank=0), is_local=is_local) == []
