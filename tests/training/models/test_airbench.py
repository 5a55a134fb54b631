"""The network of airbench94: how it starts, what of it learns, and what it makes of an image's views."""

from pathlib import Path

import pytest
import torch
from models_checked import facts, refused
from torch import nn

from tune_cnn.spec import load_spec
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.models.airbench import Airbench
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining


def net(**arguments: float) -> nn.Module:
    torch.manual_seed(0)
    return build_model(
        "airbench94", num_classes=10, in_channels=3, image_size=(32, 32), arguments={"width": 8, **arguments}
    )


def test_its_layers_are_the_papers():
    """24 filters of 2×2 with a bias, six of 3×3 without, no bias in the head, norms without a scale that learns."""
    model = build_model("airbench94", num_classes=10, in_channels=3, image_size=(32, 32))
    shapes = [tuple(module.weight.shape) for module in model.modules() if isinstance(module, nn.Conv2d)]
    groups = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    assert shapes == [(24, 3, 2, 2), *((after, before, 3, 3) for before, after in groups)]
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert still == {f"{name}.weight" for name in norms} and len(norms) == 6
    assert {name for name, _ in model.named_parameters() if name.endswith("bias")} == {
        "stem.bias",
        *(f"{name}.bias" for name in norms),
    }


def test_a_layers_first_filters_pass_on_what_comes():
    """Channel for channel; the filters behind them are drawn."""
    for layer in (module for module in net().groups.modules() if isinstance(module, nn.Conv2d)):
        maps = torch.randn(2, layer.in_channels, 5, 5)
        passed = min(layer.in_channels, layer.out_channels)
        assert torch.allclose(layer(maps)[:, :passed], maps[:, :passed], atol=1e-6)
        assert layer.weight[passed:].flatten(1).any(1).all()


@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (9, 33)), (3, (64, 64))])
def test_it_takes_other_images(channels: int, size: tuple[int, int]):
    """Grey, oblong and larger ones; everything that may learn does."""
    torch.manual_seed(0)
    model = build_model("airbench94", num_classes=7, in_channels=channels, image_size=size, arguments={"width": 8})
    output = model(torch.randn(4, channels, *size))
    assert output.shape == (4, 7)
    nn.functional.cross_entropy(output, torch.tensor([0, 1, 2, 3])).backward()
    assert all((p.grad is not None and bool(p.grad.any())) == p.requires_grad for p in model.parameters())


def test_views_are_averaged_in_evaluation_alone():
    """An image and its mirror image get the same answer; six views see it shifted too; training sees it once."""
    images = torch.randn(4, 3, 32, 32)
    plain, both, six = (net(views=views) for views in (1, 2, 6))
    assert torch.equal(plain(images), both(images))
    for model in (plain, both, six):
        model.eval()
    with torch.no_grad():
        wanted = (plain(images) + plain(images.flip(-1))) / 2
        both.load_state_dict(plain.state_dict())
        assert torch.allclose(both(images), wanted, atol=1e-6)
        assert torch.allclose(both(images.flip(-1)), both(images), atol=1e-6)
        six.load_state_dict(plain.state_dict())
        wide = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        shifted = [both(wide[..., :32, :32]), both(wide[..., 2:, 2:])]
        assert torch.allclose(six(images), both(images) / 2 + sum(shifted) / 4, atol=1e-6)
    assert facts("airbench94", arguments={"views": 6}).inference_gflops == pytest.approx(
        6 * facts("airbench94").inference_gflops
    )


def test_the_recipe_trains(tmp_path: Path):
    """All of it but its size and its precision, on digits: the loss falls, and most is recognised."""
    changes = ["space.precision=fp32", "space.epochs=4", "space.batch_size=64", "space.model.width=8"]
    spec = load_spec("airbench", [*changes, "space.warmup_epochs=1", "data.name=digits", "data.image_size=16"])
    assert all(spec.fixed[f"strategies.{name}"] for name in ("whitening", "lookahead"))
    rank = RankTraining()
    rank.begin(
        TrainingJob(
            trial=0,
            configuration=spec.configuration({}),
            data=spec.data,
            model=spec.model,
            cache_dir=str(tmp_path / "cache"),
        )
    )
    try:
        results = [rank.train_epoch() for _ in range(4)]
        assert results[-1].done
        layer = rank._current.model.stem
        assert not layer.weight.requires_grad and not layer.bias.requires_grad
    finally:
        rank.end()
    losses = [result.metrics["train_loss"] for result in results]
    assert losses == sorted(losses, reverse=True)
    assert results[-1].metrics["accuracy"] > 0.5


def test_what_it_can_not_be_is_said():
    """Views that it doesn't know, and images that three poolings leave nothing of."""
    assert "views must be 1, 2 or 6, got 3" in refused("airbench94", arguments={"views": 3})
    assert "images must be 9×9 at least" in refused("airbench94", side=8)
    assert "images of 16×16 would do" in refused("airbench94", side=8)
    assert isinstance(net(), Airbench)
