"""The models: what they are by the papers, what they take, and what is said when they can't."""

import pytest
import torch
from models_checked import facts, refused
from torch import nn
from torchvision import models as torchvision_models

from tune_cnn.errors import ModelError
from tune_cnn.training.models.arguments import named_arguments
from tune_cnn.training.models.densenet import DenseLayer
from tune_cnn.training.models.dpn import DualPathBlock, Stage
from tune_cnn.training.models.measure import IMAGES, WeightsOnMeta, measure, takes_images
from tune_cnn.training.models.registry import build_model, check_model, find_model, model_names
from tune_cnn.training.models.resnet import shortcut_a

# name, channels, side, parameters: LeNet-5 and DenseNet-BC to the last one; He et al. give 0.27, 0.46 and 0.85 M,
# Jordan 1.97 M
PAPERS = [
    ("lenet5", 1, 28, 61_706),
    ("resnet8", 3, 32, 75_290),  # not in the paper: counted layer by layer
    ("resnet20", 3, 32, 269_722),
    ("resnet32", 3, 32, 464_154),
    ("resnet56", 3, 32, 853_018),
    ("densenet_bc_100_12", 3, 32, 769_162),
    ("dpn92", 3, 32, 34_236_634),
    ("airbench94", 3, 32, 1_972_792),
]


# one of each torchvision family, at the smallest side that its pooling and its strides leave something of
FAMILIES = [
    ("alexnet", 63),
    ("convnext_tiny", 32),
    ("densenet121", 29),
    ("efficientnet_b0", 8),
    ("googlenet", 15),
    ("inception_v3", 75),
    ("maxvit_t", 224),
    ("mnasnet0_5", 8),
    ("mobilenet_v2", 8),
    ("mobilenet_v3_small", 8),
    ("regnet_y_400mf", 8),
    ("resnet18", 8),
    ("shufflenet_v2_x0_5", 8),
    ("squeezenet1_1", 17),
    ("swin_t", 4),
    ("swin_v2_t", 4),
    ("vgg11_bn", 32),
    ("vit_b_32", 64),
]


@pytest.mark.parametrize(("name", "channels", "side", "parameters"), PAPERS)
def test_parameter_counts_are_the_papers(name: str, channels: int, side: int, parameters: int) -> None:
    """Each of our networks has the number of parameters that its paper gives for ten classes, and none is idle."""
    checked = facts(name, channels, side)
    assert checked.parameters == parameters
    assert checked.unused_parameters == ()
    if name != "dpn92":
        built = build_model(name, num_classes=10, in_channels=channels, image_size=(side, side))
        assert sum(p.numel() for p in built.parameters()) == parameters


@pytest.mark.parametrize("name", ["small_cnn", "lenet5", "resnet20", "densenet_bc_100_12"])
@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (16, 24))])
def test_forward_gives_a_row_per_image_and_gradient_reaches_every_parameter(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    """A batch gives (batch, classes), any channels and oblong images too, and every parameter learns from it."""
    torch.manual_seed(1)
    arguments = {"depth": 22} if name.startswith("densenet") else {}
    model = build_model(name, num_classes=7, in_channels=channels, image_size=size, arguments=arguments)
    assert model.training
    output = model(torch.randn(4, channels, *size))
    assert output.shape == (4, 7)
    nn.functional.cross_entropy(output, torch.tensor([0, 1, 2, 3])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ["small_cnn", "resnet20", "resnet18", "googlenet", "shufflenet_v2_x0_5"])
def test_a_seed_of_the_global_generator_decides_the_weights(name: str) -> None:
    """The same seed gives the same tensors, another seed others; a changed input layer and head included."""

    def drawn(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return build_model(name, num_classes=4, in_channels=2, image_size=(64, 64)).state_dict()

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    filters = next(key for key, value in first.items() if value.ndim == 4)
    assert not torch.equal(first[filters], other[filters])


def test_option_a_shortcut_subsamples_and_pads_with_zeros() -> None:
    """The shortcut keeps every second pixel as it is; the new channels are zero."""
    images = torch.randn(2, 3, 5, 5)
    out = shortcut_a(images, 7, stride=2)
    assert out.shape == (2, 7, 3, 3)
    assert torch.equal(out[:, :3], images[:, :, ::2, ::2])
    assert out[:, 3:].abs().max() == 0


def test_a_dense_layer_passes_on_what_it_got_and_adds_to_it() -> None:
    """The maps that came are the first that leave, with their gradient; the new ones follow."""
    images = torch.randn(2, 6, 4, 4, requires_grad=True)
    out = DenseLayer(6, growth_rate=3)(images)
    assert out.shape == (2, 9, 4, 4)
    assert torch.equal(out[:, :6], images)
    out[:, :6].sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


@pytest.mark.parametrize(("first", "channels", "leave"), [(True, 8, 16 + 2 * 4), (False, 24, 24 + 4)])
def test_a_dual_path_block_adds_on_one_path_and_extends_the_other(first: bool, channels: int, leave: int) -> None:
    """The residual maps stay as many, the dense ones grow by the increment, and every filter made learns."""
    torch.manual_seed(2)
    stage = Stage(blocks=2, inner=32, residual=16, increment=4, stride=2)
    block = DualPathBlock(channels, stage, first=first)
    out = block(torch.randn(4, channels, 8, 8).relu())
    assert out.shape == (4, leave, 4 if first else 8, 4 if first else 8) and block.out_channels == leave
    (out * torch.randn_like(out)).sum().backward()
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            assert (layer.weight.grad.flatten(1).abs().sum(1) > 1e-6).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("small_cnn", {"width": 4}),
        ("lenet5", {"width": 0.5}),
        ("resnet20", {"width": 8}),
        ("densenet_bc_100_12", {"depth": 16}),
        ("densenet_bc_100_12", {"depth": 22, "growth_rate": 8}),
    ],
)
def test_our_arguments_make_a_smaller_network(name: str, arguments: dict[str, float]) -> None:
    """Every argument of ours moves the number of parameters the way its name says."""
    less, stock = (
        sum(
            p.numel()
            for p in build_model(name, num_classes=10, in_channels=3, image_size=(32, 32), arguments=a).parameters()
        )
        for a in (arguments, {"depth": 22} if "growth_rate" in arguments else {})
    )
    assert less < stock / 1.9


@pytest.mark.parametrize(("name", "side"), FAMILIES)
def test_every_torchvision_family_takes_other_channels_and_classes(name: str, side: int) -> None:
    """One network of each family, at its smallest side, gives (batch, 10) for grey images, and learns throughout."""
    assert facts(name, 1, side).unused_parameters == ()


def test_the_families_are_all_of_torchvision() -> None:
    """No family of torchvision's classification networks is missing above."""
    returns = {
        torchvision_models.get_model_builder(name).__annotations__["return"]
        for name in torchvision_models.list_models(module=torchvision_models)
    }
    tried = {torchvision_models.get_model_builder(name).__annotations__["return"] for name, _ in FAMILIES}
    assert returns == tried


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [("resnet18", 64, 11_689_512), ("squeezenet1_1", 64, 1_235_496), ("vit_b_32", 224, 88_224_232)],
)
def test_torchvision_networks_are_torchvisions_own(name: str, side: int, parameters: int) -> None:
    """With a thousand classes and three channels nothing is changed: the counts are those torchvision documents."""
    assert check_model(name, num_classes=1000, in_channels=3, image_size=(side, side)).parameters == parameters


def test_flops_are_two_to_a_multiply_add_and_training_costs_three_passes() -> None:
    """ResNet-50 has its documented 4.09 G multiply-adds; the backward pass is twice the forward, groups or none."""
    plain = facts("resnet50", 3, 224)
    assert plain.inference_gflops == pytest.approx(2 * 4.09, rel=0.01)
    assert plain.train_gflops / plain.inference_gflops == pytest.approx(3, rel=0.03)
    grouped = facts("efficientnet_b0", 3, 224)
    assert grouped.inference_gflops == pytest.approx(2 * 0.386, rel=0.01)
    assert grouped.train_gflops / grouped.inference_gflops == pytest.approx(3, rel=0.03)


def test_facts_without_data_are_those_of_a_real_run() -> None:
    """A network without data is measured as one with data is, and built without touching memory."""
    shape = {"num_classes": 10, "in_channels": 3, "image_size": (32, 32)}
    real = measure(build_model("regnet_x_400mf", **shape), **shape)
    assert facts("regnet_x_400mf") == real
    with WeightsOnMeta():
        assert all(p.is_meta for p in nn.Linear(10**6, 10**6).parameters())
    assert not nn.Linear(2, 2).weight.is_meta


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("small_cnn", 1),
        ("lenet5", 11),
        ("densenet_bc_100_12", 3),
        ("alexnet", 62),
        ("vgg11", 31),
        ("squeezenet1_1", 16),
    ],
)
def test_too_small_an_image_is_refused_with_a_size_that_would_do(name: str, side: int) -> None:
    """The message names model, image and a size that works; a real run fails at the same side, and not one above."""
    message = refused(name, 3, side)
    assert repr(name) in message and f"{side}×{side}" in message
    assert "would do" in message
    for at, works in ((side, False), (side + 1, True)):
        shape = {"num_classes": 10, "in_channels": 3, "image_size": (at, at)}
        try:
            assert takes_images(build_model(name, **shape), **shape) is works
        except ModelError:
            assert not works


def test_a_network_for_one_size_says_which_would_do() -> None:
    """A vision transformer wants square images in whole patches, MaxViT whole windows; both name a size."""
    assert "224×224 would do" in refused("maxvit_t", 3, 64)
    assert "32×32 would do" in refused("vit_b_32", 3, 28)
    with pytest.raises(ModelError, match="must be square, got 32×64"):
        build_model("vit_b_32", num_classes=10, in_channels=3, image_size=(32, 64))


def test_unknown_names_are_answered_with_the_nearest() -> None:
    """A mistyped model or argument is answered with what it may have meant, and what there is."""
    assert "'resnet20'" in refused("resnet_20")
    assert "package.module:name" in refused("zzzz")
    message = refused("resnet20", arguments={"widht": 8})
    assert "'widht'" in message and "it takes width" in message and "did you mean 'width'?" in message
    assert "it takes none" in refused("dpn92", arguments={"width": 8})
    assert "did you mean 'dropout'?" in refused("alexnet", 3, 64, arguments={"drop": 0.1})
    assert "set by the data" in refused("resnet20", arguments={"num_classes": 8})
    with pytest.raises(ModelError, match="did you mean 'width'"):
        build_model("resnet20", num_classes=2, in_channels=1, image_size=(8, 8), arguments={"widht": 8})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("small_cnn", {"width": 0}, "width must be a whole number of at least 1, got 0"),
        ("resnet20", {"width": 2.5}, "width must be a whole number of at least 1, got 2.5"),
        ("resnet8", {"stem": 4}, "stem must be odd, got 4"),
        ("lenet5", {"width": -1}, "width must be a number above 0, got -1"),
        ("densenet_bc_100_12", {"depth": 50}, "depth must be 6n + 4"),
        ("resnet18", {"groups": 3}, "groups=3"),
    ],
)
def test_values_that_make_no_network_are_refused(name: str, arguments: dict[str, float], said: str) -> None:
    """A value that the network can't be built with is named, with what must hold."""
    assert said in refused(name, arguments=arguments)


def test_names_and_arguments_are_listed() -> None:
    """Ours and torchvision's classification networks are listed, no detectors among them; so are arguments."""
    names = model_names()
    assert {"small_cnn", "lenet5", "dpn92", "resnet18", "vit_b_16"} <= set(names)
    assert not {"fasterrcnn_resnet50_fpn", "fcn_resnet50", "r3d_18", "quantized_resnet18"} & set(names)
    assert named_arguments("densenet_bc_100_12", find_model("densenet_bc_100_12")) == ("growth_rate", "depth")
    assert named_arguments("efficientnet_b0", find_model("efficientnet_b0")) == ("dropout", "stochastic_depth_prob")
    assert named_arguments("dpn92", find_model("dpn92")) == ()
    assert callable(find_model("resnet18"))


def test_torchvision_arguments_reach_the_network() -> None:
    """A dropout set by name is the network's dropout."""
    model = build_model("alexnet", num_classes=3, in_channels=3, image_size=(64, 64), arguments={"dropout": 0.25})
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.25}


def test_a_pooled_resnet8_has_the_maps_and_weights_of_the_strided_one() -> None:
    """Max pooling takes the place of the strides, and nothing else changes; the stem is as wide as asked for."""
    maps: dict[bool, list[torch.Size]] = {}
    models = {}
    for pooled in (False, True):
        arguments = {"width": 4, "stem": 5, "pooled": pooled}
        model = models[pooled] = build_model(
            "resnet8", num_classes=3, in_channels=1, image_size=(28, 28), arguments=arguments
        )
        for block in (m for m in model.modules() if type(m).__name__ == "BasicBlock"):
            block.register_forward_hook(lambda _, __, out, pooled=pooled: maps.setdefault(pooled, []).append(out.shape))
        model(torch.rand(2, 1, 28, 28))
    assert maps[True] == maps[False] and maps[True][-1] == (2, 16, 7, 7)
    shapes = {pooled: [p.shape for p in model.parameters()] for pooled, model in models.items()}
    assert shapes[True] == shapes[False] and shapes[True][0] == (4, 1, 5, 5)
    kinds = {pooled: sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) for pooled, model in models.items()}
    assert kinds == {False: 0, True: 2}


def test_two_images_are_enough_for_batch_normalisation_at_one_pixel() -> None:
    """Maps that have shrunk to 1×1 are no error: the check runs the fewest images that training allows."""
    assert IMAGES == 2
    assert facts("resnet18", 3, 1).parameters > 0
