"""Pretrained weights: found, fitted to other channels and classes, or refused."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from models_checked import refused
from torchvision import models as torchvision_models

from tune_cnn.training.models.registry import build_model, check_model
from tune_cnn.training.models.torchvision_models import fit_filters


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
