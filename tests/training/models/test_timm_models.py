"""timm:NAME: the networks are timm's own, take other images and classes, and weights bring their images with them."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from models_checked import facts, refused
from safetensors.torch import save_file
from torch import nn

from tune_cnn.errors import ModelError, SpecError
from tune_cnn.spec import DataSpec
from tune_cnn.spec.parts import ModelSpec
from tune_cnn.training.images_for_model import prepare_for
from tune_cnn.training.models.arguments import named_arguments
from tune_cnn.training.models.registry import build_model, find_model

# timm's own small networks of several families, each at its smallest side that suits it
FAMILIES = [
    ("test_resnet", 32),
    ("test_convnext", 32),
    ("test_efficientnet", 32),
    ("test_vit", 32),
    ("test_byobnet", 32),
]
SHAPE = {"num_classes": 4, "in_channels": 3, "image_size": (32, 32)}


@pytest.mark.parametrize(("name", "side"), FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_takes_other_channels_classes_and_sides(name: str, side: int, channels: int) -> None:
    """Measured without data it has timm's own number of parameters, and every one of them learns."""
    checked = facts(f"timm:{name}", channels, side)
    own = timm.create_model(name, num_classes=10, in_chans=channels, **({"img_size": side} if "vit" in name else {}))
    assert checked.parameters == sum(p.numel() for p in own.parameters())
    assert checked.unused_parameters == () and checked.inference_gflops > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_forward_gives_a_row_per_image_and_a_seed_decides_the_weights(name: str) -> None:
    """As every model's contract has it."""

    def drawn(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return build_model(f"timm:{name}", **SHAPE)

    first, again, other = (drawn(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    model = drawn(3)
    assert model.training and model(torch.randn(2, 3, 32, 32)).shape == (2, 4)


def test_arguments_reach_the_network() -> None:
    """drop_path_rate drops paths; an argument that the network doesn't take is answered with the nearest."""
    model = build_model("timm:resnet18", **SHAPE, arguments={"drop_path_rate": 0.25})
    assert max(m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")) == 0.25
    known = named_arguments("timm:resnet18", find_model("timm:resnet18"))
    assert known is not None and {"drop_rate", "drop_path_rate", "stem_width"} <= set(known)
    assert not {"num_classes", "in_chans", "device"} & set(known)
    assert "did you mean 'drop_path_rate'" in refused("timm:resnet18", arguments={"drop_path_rat": 0.1})


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """timm's names; weights in the name belong into their own key."""
    assert "timm has no model 'resnet19'; did you mean 'resnet18'" in refused("timm:resnet19").replace(" or ", "; ")
    assert "weights: a1_in1k" in refused("timm:resnet18.a1_in1k")
    assert "did you mean 'a1_in1k'" in refused("timm:resnet18", weights="a1_in1").replace(" or ", "; ")


def test_without_timm_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other error comes of it."""
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "tune_cnn.training.models.timm_models", raising=False)
    assert "uv sync --extra timm" in refused("timm:resnet18")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a network for seven classes, drawn here."""
    torch.manual_seed(9)
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_weights_of_a_file_are_loaded_and_another_head_is_fresh(weights: Path) -> None:
    """All but the head are the file's; for its own classes the head too; for grey images the filters' sum."""
    own = timm.create_model("test_resnet", num_classes=7, checkpoint_path=str(weights)).state_dict()
    kept = build_model("timm:test_resnet", **SHAPE | {"num_classes": 7}, weights=str(weights)).state_dict()
    assert all(torch.equal(kept[key], own[key]) for key in own)
    other = build_model("timm:test_resnet", **SHAPE, weights=str(weights)).state_dict()
    assert {key for key in own if not torch.equal(own[key], other[key])} == {"fc.weight", "fc.bias"}
    grey = build_model("timm:test_resnet", **SHAPE | {"in_channels": 1}, weights=str(weights)).state_dict()
    torch.testing.assert_close(grey["conv1.0.weight"], own["conv1.0.weight"].sum(1, keepdim=True))
    assert facts("timm:test_resnet", 3, 32, weights=str(weights)).parameters > 0


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, weights: Path) -> None:
    """None there, a torn one, and one of another network."""
    assert "there is no such file" in refused("timm:test_resnet", weights=str(tmp_path / "none.pth"))
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    assert "does not hold weights" in refused("timm:test_resnet", weights=str(tmp_path / "torn.pth"))
    assert "no file of timm:test_vit" in refused("timm:test_vit", weights=str(weights))


def test_a_hub_that_is_not_reachable_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to do instead."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"could not be had from timm/test_resnet.*name the file: weights: /path"):
        build_model("timm:test_resnet", **SHAPE, weights="DEFAULT")


def test_weights_bring_size_mean_and_std(tmp_path: Path, weights: Path) -> None:
    """Those of the pretrained config; data.image_size goes first, and without weights the data decide."""
    where = {"split_seed": 0, "cache_dir": tmp_path / "cache"}
    model = ModelSpec(name="timm:test_resnet", weights=str(weights))
    config = timm.get_pretrained_cfg("test_resnet")
    sized = prepare_for(model, DataSpec(name="digits", image_size=32), **where).facts
    assert sized.image_size == (32, 32)
    assert sized.mean == pytest.approx((sum(config.mean) / 3,)) and sized.std == pytest.approx((sum(config.std) / 3,))
    assert any("mean and std of the weights" in note for note in sized.notes)
    free = prepare_for(model, DataSpec(name="digits", subset=20, test=0.9), **where).facts
    assert free.image_size == config.input_size[1:]
    bare = prepare_for(ModelSpec(name="timm:test_resnet"), DataSpec(name="digits"), **where).facts
    assert bare.image_size == (8, 8) and bare.mean != sized.mean


def test_a_file_is_found_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path is the one from where the spec was loaded; names of weights stay names."""
    monkeypatch.chdir(tmp_path)
    assert ModelSpec(name="timm:resnet18", weights="net.pth").weights == str(tmp_path / "net.pth")
    assert ModelSpec(name="timm:resnet18", weights="a1_in1k").weights == "a1_in1k"
    with pytest.raises((SpecError, ValueError), match="as timm:resnet18"):
        ModelSpec(name="timm:")
