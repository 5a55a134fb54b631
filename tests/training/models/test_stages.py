"""Stages are found by the structure of a network, in the order in which images come to them."""

import pytest
import torch
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.models.stages import stages_of


def stages(name: str, side: int = 32) -> list[str]:
    model = build_model(name, num_classes=10, in_channels=3, image_size=(side, side)).to("meta")
    return [str(stage) for stage in stages_of(model, torch.zeros(2, 3, side, side, device="meta"))]


def test_ours_are_layers_and_blocks():
    """A norm belongs to the convolution before it."""
    assert stages("small_cnn") == ["0+1", "3+4", "7+8", "12"]
    assert stages("resnet8") == ["0+1", "3", "4", "5", "8"]


def test_torchvisions_are_what_it_names_them():
    """A backbone under one name is taken apart."""
    assert stages("resnet18") == ["conv1+bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert stages("alexnet", 64) == [
        "features.0",
        "features.3",
        "features.6",
        "features.8",
        "features.10",
        "classifier",
    ]
    assert stages("regnet_y_400mf", 64) == ["stem", *(f"trunk_output.block{n}" for n in range(1, 5)), "fc"]
    vit = stages("vit_b_16", 32)
    assert vit[0] == "conv_proj" and vit[-1] == "heads" and len(vit) == 14
    assert vit[-2] == "encoder.layers.encoder_layer_11+encoder.ln"


class Backwards(nn.Module):
    """Its head is made first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.late = nn.Conv2d(4, 4, 3)
        self.early = nn.Conv2d(3, 4, 3)
        self.token = nn.Parameter(torch.zeros(4))

    def forward(self, images_nchw: Tensor) -> Tensor:
        maps = self.late(self.early(images_nchw)).mean((2, 3))
        return self.head(maps + self.token)  # type: ignore[no-any-return]  # a module's call has no type


def test_the_order_is_that_of_the_forward_pass():
    """Not that in which they were made; the model is left in its mode."""
    model = Backwards().train()
    model.late.eval()
    found = stages_of(model, torch.zeros(2, 3, 8, 8))
    assert [str(stage) for stage in found] == ["early", "late", "head"]
    assert found[0].parameters(model) == ["early.weight", "early.bias"]
    assert model.training and model.early.training and not model.late.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_without_stages_is_refused():
    """One layer is a head without a backbone."""
    with pytest.raises(ModelError, match=r"it has no stages: .* leave frozen_stages, head_epochs, layer_decay"):
        stages_of(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, 2, 2))
