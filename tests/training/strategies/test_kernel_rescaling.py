"""Kernel rescaling: what the small net has learned is what the full one goes on from."""

from dataclasses import replace

import pytest
import torch
from ranks import digits_job
from torch import nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.spec import DataSpec
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.kernel_rescaling import KernelRescaling, shrink_kernels, smallest_images
from tune_cnn.training.surgery.kernels import (
    carried_state,
    padding_for,
    resize_images,
    resize_kernels,
    set_image_size,
    smaller_kernel,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def begun(folder):
    """Begins a training with kernel_rescaling on, on digits of that side; the rank and the run."""
    rank = RankTraining()

    def begin(model, side=28, **settings):
        job = digits_job(folder, model=model, strategies={"kernel_rescaling": True}, **{"epochs": 4, **settings})
        rank.begin(replace(job, data=DataSpec(name="digits", subset=600, image_size=side)))
        return rank, rank._current._training._run

    yield begin
    rank.end()


def smooth(side: int):
    """Slow waves, the same picture at any side."""
    along = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    wave = torch.sin(2 * torch.pi * along[:, None] + 1) + torch.cos(3 * along[None, :]) + 2
    return wave[None, None]


@pytest.mark.parametrize(("small", "large"), [(3, 5), (3, 7), (5, 9)])
def test_a_rescaled_kernel_answers_a_smooth_image_as_before(small, large):
    """The small kernel on the small picture, the large one on the large picture: the same response within 6 %."""
    kernels = torch.rand(4, 1, small, small, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = F.conv2d(smooth(60), kernels, padding="same")
    side = 60 * large // small
    after = F.conv2d(smooth(side), resize_kernels(kernels, (large, large)), padding="same")
    after = resize_images(after, (60, 60))
    inner = (..., slice(5, -5), slice(5, -5))
    torch.testing.assert_close(after[inner], before[inner], rtol=0.06, atol=0.06)
    torch.testing.assert_close(
        resize_kernels(kernels, (large, large)).sum((2, 3)), kernels.sum((2, 3)), rtol=0.15, atol=0
    )


def test_the_factor_is_of_the_areas():
    """A kernel of equal weights keeps its sum exactly."""
    kernels = torch.ones(2, 3, 3, 5)
    resized = resize_kernels(kernels, (7, 9))
    torch.testing.assert_close(resized, torch.full((2, 3, 7, 9), 15 / 63))


@pytest.mark.parametrize(
    ("kernel", "scale", "expected"),
    [
        (5, 0.5, 3),
        (7, 0.5, 3),
        (11, 0.5, 5),
        (7, 0.75, 5),
        (5, 0.9, None),
        (3, 0.5, None),
        (1, 0.5, None),
        (4, 0.5, None),
    ],
)
def test_kernels_shrink_to_the_nearest_odd_size(kernel, scale, expected):
    """Three at least; even ones have no middle, and are left alone."""
    size = smaller_kernel(nn.Conv2d(2, 2, kernel), scale)
    assert size == (None if expected is None else (expected, expected))


def test_padding_goes_with_the_kernel():
    """Maps stay as large where there was padding for it."""
    assert padding_for(nn.Conv2d(2, 2, 5, padding=2), (3, 3)) == (1, 1)
    assert padding_for(nn.Conv2d(2, 2, 7, padding=(3, 0)), (3, 3)) == (1, 0)
    assert padding_for(nn.Conv2d(2, 2, 5, padding="same"), (3, 3)) == "same"
    assert padding_for(nn.Conv2d(2, 2, 5, padding=4, dilation=2), (3, 3)) == (2, 2)


def test_the_first_small_kernels_are_the_middles_in_their_own_spread():
    """Of 5×5 weights the inner 3×3, 5/3 as large; the bias is kept."""
    model = build_model("lenet5", num_classes=4, in_channels=1, image_size=(28, 28))
    wide, bias = model[3].weight.detach().clone(), model[3].bias
    full = shrink_kernels(model, 0.5)
    assert full == {"0": {"size": [5, 5], "padding": [2, 2]}, "3": {"size": [5, 5], "padding": [0, 0]}}
    torch.testing.assert_close(model[3].weight.detach(), wide[:, :, 1:4, 1:4] * 5 / 3)
    assert model[3].bias is bias and model[3].kernel_size == (3, 3) and model[0].padding == (1, 1)


def test_pretrained_kernels_are_resized_not_cut():
    """What they respond to is worth keeping."""
    model = build_model("lenet5", num_classes=4, in_channels=1, image_size=(28, 28))
    wide = model[3].weight.detach().clone()
    shrink_kernels(model, 0.5, pretrained=True)
    torch.testing.assert_close(model[3].weight.detach(), resize_kernels(wide, (3, 3)))


def test_a_model_that_is_built_for_one_size_gets_the_smallest_that_it_takes():
    """Behind smaller kernels LeNet-5 takes 24×24 for 28×28; a net that ends in an average takes any."""
    lenet = build_model("lenet5", num_classes=4, in_channels=1, image_size=(28, 28))
    images_nchw = torch.randn(2, 1, 28, 28)
    assert smallest_images(lenet, images_nchw, 0.5) is None
    shrink_kernels(lenet, 0.5)
    assert smallest_images(lenet, images_nchw, 0.5) == (24, 24)
    resnet = build_model("resnet20", num_classes=4, in_channels=1, image_size=(28, 28), arguments={"width": 2})
    assert smallest_images(resnet, torch.randn(2, 1, 28, 40), 0.5) == (14, 20)


@pytest.mark.parametrize(
    ("model", "kernels", "image_size"), [("lenet5", ["0", "3"], [24, 24]), ("small_cnn", [], [14, 14])]
)
def test_in_the_loop_the_first_epochs_are_cheaper_and_the_end_is_the_configured_net(begun, model, kernels, image_size):
    """Fewer operations until the rescaling; then the factory's own sizes, momentum along, and it goes on learning."""
    rank, run = begun(model, learning_rate=0.02)
    metrics = [rank.train_epoch().metrics for _ in range(4)]
    first, last = run.changes
    assert sorted(first["kernels"]) == kernels and first["image_size"] == image_size
    assert last["epoch"] == 2 and last["image_size"] is None and sorted(last["kernels"]) == kernels
    gflops = [m["inference_gflops"] for m in metrics]
    assert gflops[0] == gflops[1] < 0.7 * gflops[2] and gflops[2] == gflops[3]
    trained = metrics[0]["train_gflops"]
    assert metrics[3]["train_gflops"] - metrics[2]["train_gflops"] > 1.5 * trained
    whole = build_model(model, num_classes=10, in_channels=1, image_size=(28, 28))
    assert {n: p.shape for n, p in run.model.state_dict().items()} == {
        n: p.shape for n, p in whole.state_dict().items()
    }
    assert str(run.model) == str(whole)
    assert all(run.optimizer.state[p]["momentum_buffer"].shape == p.shape for p in run.model.parameters())
    assert metrics[3]["train_loss"] < metrics[0]["train_loss"]


def test_momentum_is_interpolated_and_steps_are_kept():
    """Gradients of neighbouring taps are alike: equal ones stay what they are."""
    old = torch.zeros(2, 3, 3, 3)
    state = {"exp_avg": torch.full_like(old, 0.5), "exp_avg_sq": torch.full_like(old, 0.2), "step": torch.tensor(7.0)}
    carried = carried_state(state, old, (5, 5))
    torch.testing.assert_close(carried["exp_avg"], torch.full((2, 3, 5, 5), 0.5))
    torch.testing.assert_close(carried["exp_avg_sq"], torch.full((2, 3, 5, 5), 0.2))
    assert carried["step"] == 7


def test_the_model_resizes_what_it_is_given_until_told_otherwise():
    """In training and evaluation, in the images' memory format."""
    seen = []

    class Looking(nn.Module):
        def forward(self, images_nchw):
            seen.append(images_nchw)
            return images_nchw.mean((1, 2, 3))

    model = Looking()
    images_nchw = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    set_image_size(model, (4, 4))
    set_image_size(model, (5, 6))
    model(images_nchw)
    set_image_size(model, None)
    model(images_nchw)
    assert [tuple(one.shape[2:]) for one in seen] == [(5, 6), (8, 8)]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def linear(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_a_model_with_nothing_to_rescale_is_told(begun):
    """No large kernel, and built for one size of image."""
    with pytest.raises(StrategyError, match=r"^kernel_rescaling: the model has no kernels above 3×3, and it takes no"):
        begun(f"{__name__}:linear")
    with pytest.raises(StrategyError, match="2 epochs at least, got epochs=1"):
        begun("small_cnn", epochs=1)


def test_the_card_names_the_slot():
    """Images and kernels change, so it shares `resolution` with what else changes them."""
    assert {site.value for site in KernelRescaling.sites} == {"resolution"}
