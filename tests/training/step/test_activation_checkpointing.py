"""Blocks that run again: the same gradients and statistics to the bit, of fewer saved tensors."""

from copy import deepcopy

import pytest
import torch
from ranks import digits_job, same_bits, train
from torch import Tensor, nn

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec import parse_spec
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.checkpointing import Checkpointed, parts_of


def saved_bytes(model: nn.Module, images_nchw: Tensor) -> int:
    """Of a forward and a backward pass: the memory of all tensors that wait for the backward pass."""
    waiting: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        waiting[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model.train()(images_nchw)
    output.square().sum().backward()
    return sum(waiting.values())


@pytest.mark.parametrize(
    ("name", "arguments", "share"),
    [("resnet8", {}, 0.5), ("resnet18", {}, 0.5), ("densenet_bc_100_12", {}, 0.6), ("mobilenet_v3_small", {}, 0.5)],
)
def test_gradients_and_statistics_are_the_same_and_less_is_saved(name, arguments, share):
    """With dropout drawn again as it was, and counts of batches as they would be."""
    torch.manual_seed(0)
    model = build_model(name, num_classes=10, in_channels=3, image_size=(32, 32), arguments=arguments)
    other = deepcopy(model)
    images_nchw = torch.randn(2, 3, 32, 32)
    whole, again = saved_bytes(model, images_nchw), saved_bytes(Checkpointed(other), images_nchw)
    assert again < share * whole
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        assert torch.equal(one.grad, two.grad)
    assert same_bits(model.state_dict(), other.state_dict())
    assert not any("forward" in vars(module) for module in other.modules())


def test_a_training_ends_with_the_same_bits_and_its_arithmetic_is_counted(tmp_path):
    """Through micro-batches and sharpness-aware steps, too."""
    settings = {"model": "resnet8", "epochs": 1, "optimizer": "sam", "accumulate": 2}
    (one,), weights = train(RankTraining(), digits_job(tmp_path, **settings))
    (two,), others = train(RankTraining(), digits_job(tmp_path, **settings, activation_checkpointing=True))
    assert same_bits(weights, others)
    forward = one.metrics["inference_gflops"] * 2 * 540
    assert two.metrics["train_gflops"] == pytest.approx(one.metrics["train_gflops"] + forward)


def test_blocks_are_found_through_sequences():
    """A block is one whole, whatever it is made of."""
    model = build_model("resnet18", num_classes=10, in_channels=3, image_size=(32, 32))
    named = {id(module): name for name, module in model.named_modules()}
    assert [named[id(part)] for part in parts_of(model)] == [f"layer{n}.{m}" for n in range(1, 5) for m in (0, 1)]


def test_what_can_not_be_is_refused(tmp_path):
    """A model without blocks, and torch.compile beside it."""
    with pytest.raises(TrialError, match="activation_checkpointing: Sequential has no blocks"):
        RankTraining().begin(digits_job(tmp_path, activation_checkpointing=True))
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "resnet8"}, "budget": {"trials": 1}}
    with pytest.raises(SpecError, match="activation_checkpointing: true can't go with compile: true"):
        parse_spec({**raw, "space": {"activation_checkpointing": True, "compile": [True, False]}})
