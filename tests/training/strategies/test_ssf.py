"""Structure and strength: kernels keep their direction, one number each learns, and plain weights come out."""

import numpy as np
import pytest
import torch
from ranks import digits_job, same_bits
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.ssf import dealt, dictionary, fold, freeze_structure, patches


def direction(kernels_oikk):
    flat = kernels_oikk.flatten(2)
    return flat / flat.norm(dim=2, keepdim=True)


def test_a_kernel_learns_its_strength_alone():
    """W = t ⊙ W₀: the gradient of t is the kernel's share of the weight's, and folding leaves the product."""
    torch.manual_seed(0)
    layer, plain = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    plain.load_state_dict(layer.state_dict())
    images_nchw = torch.randn(4, 2, 6, 6)
    freeze_structure(layer)
    assert torch.equal(layer(images_nchw), plain(images_nchw))
    learning = {name: p.numel() for name, p in layer.named_parameters()}
    assert learning == {"bias": 3, "parametrizations.weight.original": 6}
    layer(images_nchw).square().mean().backward()
    plain(images_nchw).square().mean().backward()
    expected = (plain.weight.grad * plain.weight).sum((2, 3), keepdim=True)
    assert torch.allclose(layer.parametrizations.weight.original.grad, expected, atol=1e-6)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(-2.0)
    folded = fold(nn.Sequential(layer))
    assert torch.allclose(folded[0].weight, -2 * plain.weight) and set(folded.state_dict()) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("structure", ["given", "dictionary"])
def test_directions_stay_through_a_training_and_strengths_do_not(tmp_path, structure):
    """What comes out are plain weights, of the factory's model."""
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies={"ssf": True, "ssf.structure": structure}, epochs=3))
    model = rank._current.model
    first = rank.train_epoch()
    before = {name: model.get_submodule(name).weight.detach().clone() for name in ("0", "3", "7")}
    while not (last := rank.train_epoch()).done:
        pass
    weights = rank.weights()
    assert rank.changes() == [] and "0.weight" in weights
    rank.end()
    for name, former in before.items():
        now = weights[f"{name}.weight"]
        turned = (direction(now) * direction(former)).sum(2)
        assert torch.allclose(turned.abs(), torch.ones_like(turned), atol=1e-4)
        assert not torch.allclose(now, former, atol=1e-4)
    assert first.metrics["parameters"] < 0.2 * last.metrics["parameters"]
    assert last.metrics["train_loss"] < first.metrics["train_loss"]


def test_a_dictionary_finds_the_patterns_that_patches_are_made_of():
    """Patches of three patterns, in any strength: an atom lies along each of them."""
    random = np.random.default_rng(0)
    patterns = np.linalg.qr(random.standard_normal((9, 3)))[0].T
    patches_pv = np.stack([random.choice([-3.0, 3.0]) * patterns[n % 3] for n in range(900)])
    atoms = dictionary(patches_pv + 0.01 * random.standard_normal((900, 9)), random)
    assert torch.allclose(atoms.norm(dim=1), torch.ones(len(atoms), dtype=atoms.dtype))
    best = (atoms @ torch.from_numpy(patterns).T).abs().max(0).values
    assert (best > 0.95).all()
    assert dictionary(np.zeros((3, 9)), random).isfinite().all()


def test_patches_are_whats_given_to_the_layer_and_kernels_keep_their_spread():
    """Of single maps, with mean 0 and deviation 1, none of them flat; dealt kernels have the layer's own spread."""
    random = np.random.default_rng(0)
    maps_nchw = torch.randn(4, 2, 6, 6)
    maps_nchw[:, 1] = 5.0
    found = patches(maps_nchw, nn.Conv2d(2, 3, 3), random)
    assert found.shape == (4 * 16, 9)
    assert np.allclose(found.mean(1), 0) and np.allclose(found.std(1), 1)
    like = torch.randn(8, 4, 3, 3) * 0.1
    kernels = dealt(torch.from_numpy(np.eye(9)), like, random)
    assert kernels.shape == like.shape
    assert torch.allclose(kernels.square().mean(), like.square().mean())


def test_it_is_the_same_with_the_same_seed(tmp_path):
    weights = []
    for _ in range(2):
        rank = RankTraining()
        rank.begin(digits_job(tmp_path, strategies={"ssf": True}, epochs=2))
        rank.train_epoch()
        weights.append(rank.weights())
        rank.end()
    assert same_bits(*weights)


def test_what_has_no_structure_is_refused(tmp_path):
    with pytest.raises(TrialError, match="ssf: the model has no convolution with kernels above 1×1"):
        RankTraining().begin(digits_job(tmp_path, model=f"{__name__}:pointwise", strategies={"ssf": True}))


def pointwise(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
