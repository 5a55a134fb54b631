"""Models that can't be trained bit by bit alike on a GPU are refused before the search, by their layers."""

import pytest
from torch import nn

from tune_cnn.errors import SpecError
from tune_cnn.spec import parse_spec
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.inspection.node import check_deterministic
from tune_cnn.training.models.determinism import without_determinism
from tune_cnn.training.models.registry import layers_without_determinism


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.AdaptiveAvgPool2d(1), []),
        (nn.AdaptiveAvgPool2d((1, 1)), []),
        (nn.AvgPool2d(2), []),
        (nn.MaxPool2d(2), []),
        (nn.ReplicationPad2d(1), []),
        (nn.Upsample(scale_factor=2), []),
        (nn.AdaptiveAvgPool2d(2), ["AdaptiveAvgPool2d to more than 1×1"]),
        (nn.AdaptiveAvgPool2d((1, 2)), ["AdaptiveAvgPool2d to more than 1×1"]),
        (nn.AdaptiveMaxPool2d(1), ["AdaptiveMaxPool2d"]),
        (nn.FractionalMaxPool2d(2, output_size=4), ["FractionalMaxPool2d"]),
        (nn.ReflectionPad2d(1), ["reflection padding"]),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), ["reflection padding"]),
    ],
    ids=str,
)
def test_a_layer_without_a_deterministic_gradient_is_found(layer, named):
    """As torch lists them, wherever in the model they stand."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.ReLU())
    assert without_determinism(model, in_channels=3, image_size=(8, 8)) == named


@pytest.mark.parametrize("name", ["vgg11", "alexnet"])
def test_a_torchvision_model_that_averages_to_several_places_is_refused(name):
    spec = parse_spec(
        {
            "study": "s", "data": {"name": "cifar10"}, "model": {"name": name}, "budget": {"trials": 1},
            "space": {"model.dropout": [0.1, 0.2]}, "resources": {"deterministic": True},
        }
    )  # fmt: skip
    facts = DataFacts(
        name="cifar10", num_classes=10, in_channels=3, image_size=(64, 64), train_images=640, validation_images=64,
        test_images=64, classes=(), key="k", mean=(0.0,) * 3, std=(1.0,) * 3, notes=(),
    )  # fmt: skip
    said = rf"resources.deterministic: model '{name}' with dropout=0.1 has AdaptiveAvgPool2d to more than 1×1, whose"
    with pytest.raises(SpecError, match=said):
        check_deterministic(spec, facts)


@pytest.mark.parametrize("name", ["small_cnn", "lenet5", "resnet20", "densenet_bc_100_12", "resnet18"])
def test_models_that_average_to_one_place_may_be_deterministic(name):
    assert layers_without_determinism(name, num_classes=10, in_channels=3, image_size=(32, 32)) == []
