"""The models: what they are by the papers, what they take, and what is said when they can't."""

import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from tune_cnn.errors import ModelError
from tune_cnn.training.models.densenet import DenseLayer
from tune_cnn.training.models.dpn import DualPathBlock, Stage
from tune_cnn.training.models.measure import IMAGES, WeightsOnMeta, measure, takes_images
from tune_cnn.training.models.registry import build_model, check_model, find_model, model_arguments, model_names
from tune_cnn.training.models.resnet import shortcut_a
from tune_cnn.training.models.torchvision_models import fit_filters

# name, channels, side, parameters: LeNet-5 and DenseNet-BC to the last one; He et al. give 0.27, 0.46 and 0.85 M
PAPERS = [
    ("lenet5", 1, 28, 61_706),
    ("resnet8", 3, 32, 75_290),  # not in the paper: counted layer by layer
    ("resnet20", 3, 32, 269_722),
    ("resnet32", 3, 32, 464_154),
    ("resnet56", 3, 32, 853_018),
    ("densenet_bc_100_12", 3, 32, 769_162),
    ("dpn92", 3, 32, 34_236_634),
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

USERS = '''
import torch
from torch import nn

class Plain(nn.Module):
    """A user's own, built from the data's shape; looks at its values, so that it can't run without data."""

    def __init__(self, num_classes, in_channels, image_size, hidden=5):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, images):
        if images.sum().item() < 0:
            raise RuntimeError("never")
        return self.layers(images)

def factory(num_classes, in_channels, image_size, hidden=5):
    return Plain(num_classes, in_channels, image_size, hidden)

def greedy(num_classes, in_channels, image_size, **anything):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))

def needy(num_classes, in_channels, image_size, depth):
    return greedy(num_classes, in_channels, image_size)

def narrow(num_classes):
    return nn.Linear(1, num_classes)

def raises(num_classes, in_channels, image_size):
    raise ValueError("no such luck")

def nonsense(num_classes, in_channels, image_size):
    return "a model"

def wrong_classes(num_classes, in_channels, image_size):
    return greedy(num_classes + 1, in_channels, image_size)

def tuple_output(num_classes, in_channels, image_size):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = greedy(num_classes, in_channels, image_size)
        def forward(self, images):
            return self.inner(images), None
    return Two()

def train_only_fails(num_classes, in_channels, image_size):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = greedy(num_classes, in_channels, image_size)
        def forward(self, images):
            if self.training:
                raise RuntimeError("only in training")
            return self.inner(images)
    return Fails()

def frozen(num_classes, in_channels, image_size):
    return greedy(num_classes, in_channels, image_size).requires_grad_(False)

def idle_layer(num_classes, in_channels, image_size):
    model = greedy(num_classes, in_channels, image_size)
    model.append(nn.Identity())
    model[-1].spare = nn.Linear(3, 3)
    return model

not_callable = 3
'''


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "users_models_for_a_test.py").write_text(USERS)
    (tmp_path / "users_broken_for_a_test.py").write_text("raise OSError('a disk of sand')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_models_for_a_test"
    for module in ("users_models_for_a_test", "users_broken_for_a_test"):
        sys.modules.pop(module, None)


def facts(name: str, channels: int = 3, side: int = 32, **more: object):
    return check_model(name, num_classes=10, in_channels=channels, image_size=(side, side), **more)


def refused(name: str, channels: int = 3, side: int = 32, **more: object) -> str:
    with pytest.raises(ModelError) as raised:
        facts(name, channels, side, **more)
    return str(raised.value)


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


def test_checking_leaves_the_global_generator_alone(users_module: str) -> None:
    """A check between a seed and a build changes nothing of the build."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    facts("small_cnn", 1, 8)
    facts("efficientnet_b0", 3, 32)
    facts(f"{users_module}:factory", 1, 8)
    assert torch.equal(torch.rand(3), expected)


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
    assert model_arguments("densenet_bc_100_12") == ("growth_rate", "depth")
    assert model_arguments("efficientnet_b0") == ("dropout", "stochastic_depth_prob")
    assert model_arguments("dpn92") == ()
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


def test_fresh_filters_for_other_channels_keep_the_outputs_scale() -> None:
    """White noise comes out of the refitted first layer as strong as out of the one it replaces."""
    torch.manual_seed(0)
    old = torch.randn(64, 3, 7, 7) * 0.05
    for channels in (1, 2, 8):
        fresh = fit_filters(old, channels, pretrained=False)
        assert fresh.shape == (64, channels, 7, 7)
        # the output's variance on white noise is the sum of a filter's squares
        assert (fresh**2).sum() / 64 == pytest.approx(float((old**2).sum() / 64), rel=0.1)


def test_pretrained_filters_for_other_channels_answer_a_grey_image_alike() -> None:
    """One channel: the filters' sum. Six: each twice at half the weight. Either way a grey image looks the same."""
    torch.manual_seed(0)
    old = torch.randn(4, 3, 3, 3)
    assert torch.equal(fit_filters(old, 1, pretrained=True), old.sum(1, keepdim=True))
    six = fit_filters(old, 6, pretrained=True)
    assert torch.allclose(six, torch.cat((old, old), 1) / 2)
    four = fit_filters(old, 4, pretrained=True)
    assert torch.allclose(four[:, 3], old[:, 0] * 0.75)


@pytest.fixture
def squeezenet_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A file of weights where torch's hub looks for SqueezeNet's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(9)
    state = torchvision_models.squeezenet1_1().state_dict()
    url = torchvision_models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / url.rpartition("/")[2])
    return state


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"])
def test_pretrained_weights_are_loaded_and_the_head_is_fresh(
    weights: str, squeezenet_weights: dict[str, torch.Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    """All but the first layer (grey images) and the head (four classes) come from the file; stdout stays clean."""
    shape = {"num_classes": 4, "in_channels": 1, "image_size": (64, 64)}
    checked = check_model("squeezenet1_1", **shape, weights=weights)
    model = build_model("squeezenet1_1", **shape, weights=weights)
    built = model.state_dict()
    changed = {key for key in built if built[key].shape != squeezenet_weights[key].shape}
    assert changed == {"features.0.weight", "classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(built[key], squeezenet_weights[key]) for key in built if key not in changed)
    assert torch.equal(built["features.0.weight"], squeezenet_weights["features.0.weight"].sum(1, keepdim=True))
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 4)
    assert checked.parameters == sum(p.numel() for p in model.parameters())
    assert capfd.readouterr().out == ""


def test_pretrained_head_is_kept_for_as_many_classes(squeezenet_weights: dict[str, torch.Tensor]) -> None:
    """With the weights' own thousand classes the whole network is the file's."""
    shape = {"num_classes": 1000, "in_channels": 3, "image_size": (64, 64)}
    built = build_model("squeezenet1_1", **shape, weights="DEFAULT").state_dict()
    assert all(torch.equal(built[key], squeezenet_weights[key]) for key in built)


def test_weights_that_cannot_be_had_say_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the message gives the address, the file and TORCH_HOME; so it does for a torn file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for key in ("https_proxy", "HTTPS_PROXY"):  # nobody listens on the discard port: as good as no network
        monkeypatch.setenv(key, "http://127.0.0.1:9")
    for key in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(key, raising=False)
    member = torchvision_models.ResNet18_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / member.url.rpartition("/")[2]
    message = refused("resnet18", weights="DEFAULT")
    assert member.url in message and str(path) in message and "TORCH_HOME" in message
    assert "did you mean 'IMAGENET1K_V1'" in refused("resnet18", weights="IMAGENET_V1")
    path.write_bytes(b"PK\x03\x04 torn")
    assert "Delete it" in refused("resnet18", weights="DEFAULT")


def test_weights_file_may_hold_tensors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle with code in it, left where the weights belong, is refused before it runs."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    hostile = OrderedDict(weight=Touches(tmp_path / "touched"))
    torch.save(hostile, folder / torchvision_models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    assert "does not hold weights" in refused("resnet18", weights="DEFAULT")
    assert not (tmp_path / "touched").exists()


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_are_refused_where_they_mean_nothing(users_module: str) -> None:
    """Our networks and the user's have no published weights; a transformer's are for one image size."""
    assert "leave weights out" in refused("resnet20", weights="DEFAULT")
    assert "inside the factory" in refused(f"{users_module}:factory", weights="DEFAULT")
    assert "images of 224×224 only, got 64×64" in refused("vit_b_16", 3, 64, weights="IMAGENET1K_V1")


def test_a_users_factory_is_built_and_measured(users_module: str) -> None:
    """A factory from the user's module: its class and its function, lazy layers shaped, arguments passed."""
    for name in (f"{users_module}:factory", f"{users_module}:Plain"):
        assert model_arguments(name) == ("hidden",)
        checked = facts(name, 1, 8, arguments={"hidden": 6})
        assert checked.parameters == 64 * 6 + 6 + 6 * 10 + 10
        built = build_model(name, num_classes=10, in_channels=1, image_size=(8, 8))
        assert not any(isinstance(p, nn.UninitializedParameter) for p in built.parameters()) and built.training
        assert checked.inference_gflops == pytest.approx(2 * (64 * 6 + 60) / 1e9)
        assert "did you mean 'hidden'" in refused(name, 1, 8, arguments={"hiden": 6})
    assert model_arguments(f"{users_module}:greedy") is None
    facts(f"{users_module}:greedy", 1, 8, arguments={"whatever": 1})


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("raises", "ValueError: no such luck"),
        ("nonsense", "must return an nn.Module, got str"),
        ("wrong_classes", "shape (2, 10), (batch, num_classes), got torch.float32 of shape (2, 11)"),
        ("tuple_output", "got tuple"),
        ("train_only_fails", "in training mode its forward raised RuntimeError: only in training"),
        ("frozen", "no parameter gets a gradient"),
        ("narrow", "doesn't take in_channels, image_size"),
        ("needy", "needs the argument depth"),
        ("not_callable", "got int"),
        ("factroy", "did you mean 'factory'"),
    ],
)
def test_a_users_factory_that_misbehaves_is_told_apart(users_module: str, attribute: str, said: str) -> None:
    """Whatever a user's factory does wrong, one message names it and says what must hold."""
    message = refused(f"{users_module}:{attribute}", 1, 8)
    assert said in message
    assert f"{users_module}:{attribute}" in message


def test_a_users_module_that_cannot_be_imported_is_named(users_module: str) -> None:
    """A missing module, one that raises, and a name without a module are three messages."""
    assert "PYTHONPATH" in refused("no_such_module_for_a_test:factory")
    assert "OSError: a disk of sand" in refused("users_broken_for_a_test:factory")
    assert "package.module:name" in refused(":factory")


def test_a_parameter_without_gradient_is_reported(users_module: str) -> None:
    """A layer that the forward never uses is listed: data-parallel training must know."""
    checked = facts(f"{users_module}:idle_layer", 1, 8)
    assert checked.unused_parameters == ("2.spare.weight", "2.spare.bias")


def test_two_images_are_enough_for_batch_normalisation_at_one_pixel() -> None:
    """Maps that have shrunk to 1×1 are no error: the check runs the fewest images that training allows."""
    assert IMAGES == 2
    assert facts("resnet18", 3, 1).parameters > 0
