"""Gradient approximation: exact every few steps, and arithmetic that is really left out between them."""

from itertools import pairwise

import pytest
import torch
from ranks import digits_job, same_bits, train
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.conv_calls import put_calls, take_calls
from tune_cnn.training.strategies.gradient_approximation import ApproximateCall, Mode, subset


def net(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, stride=2, groups=1))
    put_calls(model, lambda name, layer: ApproximateCall(layer, mode))
    return model


def gradients(mode, images_nchw, weight_n=None):
    model = net(mode)
    losses_n = model(images_nchw).square().flatten(1).mean(1)
    (losses_n.mean() if weight_n is None else (losses_n * weight_n).sum()).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_a_subsets_gradient_is_that_of_its_images_scaled_to_the_batch():
    """For the weights; biases, and all that the layers below are given, have the exact ones."""
    images_nchw = torch.randn(8, 2, 7, 7)
    mode = Mode()
    exact = gradients(mode, images_nchw)
    mode.images = 2
    found = gradients(mode, images_nchw)
    mode.images = None
    of_two = gradients(mode, images_nchw, torch.tensor([1 / 2] * 2 + [0.0] * 6))  # a mean over two: 1/8 · 8/2 each
    assert torch.allclose(found["2.bias"], exact["2.bias"], atol=1e-6)
    assert torch.allclose(found["0.bias"], exact["0.bias"], atol=1e-6)
    for name in ("0.weight", "2.weight"):
        assert torch.allclose(found[name], of_two[name], atol=1e-6)
    mode.images = 0
    skipped = gradients(mode, images_nchw)
    assert skipped["0.weight"] is skipped["2.weight"] is None
    assert torch.allclose(skipped["0.bias"], exact["0.bias"], atol=1e-6)


def test_a_subset_is_at_least_one_image_and_never_all():
    assert [subset(images, 0.25) for images in (1, 2, 3, 8, 64)] == [1, 1, 1, 2, 16]
    assert subset(10, 0.9) == 9 and subset(2, 0.9) == 1


def test_the_layer_is_the_plain_one_again_afterwards():
    model = net(Mode())
    take_calls(model)
    assert "_conv_forward" not in model[0].__dict__


@pytest.mark.parametrize(("images", "share"), [(0, 0.0), (2, 0.25)])
def test_the_arithmetic_of_a_step_really_falls(images, share):
    """torch's own counter sees the weight gradients' part gone, but for the subset."""
    mode, counts = Mode(), []
    for mode.images in (None, images):
        model = net(mode)
        images_nchw = torch.randn(8, 2, 7, 7, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            F.relu(model(images_nchw)).sum().backward()
        counts.append(counter.get_total_flops())
    exact, less = counts
    assert less == pytest.approx(exact * (2 + share) / 3)


@pytest.mark.parametrize("otherwise", ["skipped", "random", "subset"])
def test_every_third_step_is_exact_and_the_count_tells_what_was_left_out(tmp_path, otherwise):
    on = {"gradient_approximation": True, "gradient_approximation.every": 3}
    on["gradient_approximation.otherwise"] = otherwise
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=60, epochs=2))
    training = rank._current._training
    facts, flops = training._model_facts, training._run.flops_by_module((8, 8))
    weights = [{k: v.clone() for k, v in rank._current.model.state_dict().items()}]
    after_step = training._strategies.after_step

    def noting():
        after_step()
        weights.append({k: v.clone() for k, v in rank._current.model.state_dict().items()})

    training._strategies.after_step = noting
    metrics = rank.train_epoch().metrics
    rank.end()
    moved = [not torch.equal(a["3.weight"], b["3.weight"]) for a, b in pairwise(weights)]
    assert moved == ([True, False, False] * 3 if otherwise == "skipped" else [True] * 9)
    assert all(not torch.equal(a["12.weight"], b["12.weight"]) for a, b in pairwise(weights))
    of_weights = sum(flops[name][torch.ops.aten.convolution] for name in ("0", "3", "7")) / 1e9
    left_out = 6 * (60 - (15 if otherwise == "subset" else 0))
    assert metrics["train_gflops"] == pytest.approx(540 * facts.train_gflops - left_out * of_weights)


def test_random_gradients_have_the_last_exact_ones_deviation(tmp_path):
    on = {"gradient_approximation": True, "gradient_approximation.otherwise": "random"}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=60, epochs=2))
    training, model = rank._current._training, rank._current.model
    deviations = []
    after_backward = training._strategies.after_backward

    def noting():
        after_backward()
        deviations.append(float(model[7].weight.grad.std(correction=0)))

    training._strategies.after_backward = noting
    rank.train_epoch()
    rank.end()
    for exact, random in zip(deviations[0::2], deviations[1::2], strict=False):
        assert random == pytest.approx(exact, rel=0.1)


def test_an_untouched_first_step_is_the_exact_one(tmp_path):
    """With one step there is nothing to approximate yet."""
    plain, exact = (
        train(RankTraining(), digits_job(tmp_path, strategies=on, batch_size=540, epochs=1))[1]
        for on in ({}, {"gradient_approximation": True})
    )
    assert same_bits(plain, exact)
