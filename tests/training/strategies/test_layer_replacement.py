"""Layer replacement: substitutes are the nearest of their kind, ranked by Fisher information, as few as it takes."""

import copy
import json
from functools import partial

import pytest
import torch
from ranks import digits_job
from strategy_nets import images, net
from torch import nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.losses import training_loss
from tune_cnn.training.strategies import layer_replacement
from tune_cnn.training.strategies.framework.rebuild import rebuilt
from tune_cnn.training.strategies.layer_replacement import fewest, fisher_information, substitutes
from tune_cnn.training.surgery.substitutes import composed, init_from, replace_layer, substitute_for

KINDS = ["depthwise_separable", "grouped", "low_rank"]
losses = partial(F.cross_entropy, reduction="none")


@pytest.fixture
def begun(tmp_path):
    rank = RankTraining()

    def begin(model="small_cnn", **knobs):
        on = {"layer_replacement": True, **{f"layer_replacement.{name}": value for name, value in knobs.items()}}
        rank.begin(digits_job(tmp_path, model=model, strategies=on, epochs=2, batch_size=200))
        return rank, rank._current._training._run

    yield begin
    rank.end()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_substitute_makes_maps_as_large_and_computes_its_one_kernel(kind, stride):
    """From images of odd sides, with the former bias; `composed` is what it amounts to."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(8, 12, 3, stride=stride, padding=1))
    before, images_nchw = copy.deepcopy(model[0]), torch.randn(3, 8, 9, 7)
    found = substitute_for(model[0], kind, groups=4, rank_share=0.3)
    replace_layer(model, "0", found)
    init_from(model, "0", before.weight.detach(), keep_length=False)
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in before.parameters())
    expected = F.conv2d(images_nchw, composed(model[0]), before.bias, stride=stride, padding=1)
    assert torch.allclose(model(images_nchw), expected, atol=1e-5)
    assert expected.shape == before(images_nchw).shape


@pytest.mark.parametrize("kind", KINDS)
def test_a_substitute_is_the_nearest_of_its_kind(kind):
    """What the kind can express comes out as it was; the rest is missed by as little as the theory says."""
    torch.manual_seed(2)
    weight = torch.randn(6, 4, 3, 3)
    by_channel = torch.linalg.svdvals(weight.permute(1, 0, 2, 3).flatten(2)).square()
    missed = {
        "depthwise_separable": by_channel[:, 1:].sum(),
        "low_rank": torch.linalg.svdvals(weight.flatten(1)).square()[2:].sum(),
        "grouped": weight[:3, 2:].square().sum() + weight[3:, :2].square().sum(),
    }[kind]
    model = nn.Sequential(nn.Conv2d(4, 6, 3))
    replace_layer(model, "0", substitute_for(model[0], kind, groups=2, rank_share=1 / 3))
    init_from(model, "0", weight, keep_length=False)
    near = composed(model[0]).detach()
    assert torch.allclose((near - weight).square().sum(), missed, rtol=1e-4)
    init_from(model, "0", near, keep_length=False)
    assert torch.allclose(composed(model[0]), near, atol=1e-5)
    init_from(model, "0", weight, keep_length=True)
    assert torch.allclose(composed(model[0]).norm(), weight.norm())


def test_fisher_information_is_that_of_the_definition():
    """Image by image, channel by channel, by autograd's own gradients."""
    model, names = net("residual"), ["conv1", "conv2"]
    images_nchw, labels_n = images("residual"), torch.arange(6) % 4
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    found = fisher_information(model, Batch(images_nchw, labels_n), names, losses)
    maps = F.relu(model.stem(images_nchw))
    first = model.conv1(maps)
    second = model.conv2(F.relu(model.bn1(first)))
    loss = F.cross_entropy(model.head(F.relu(model.bn2(second) + maps).mean((2, 3))), labels_n, reduction="sum")
    for name, output, slope in zip(names, (first, second), torch.autograd.grad(loss, (first, second)), strict=True):
        slopes = (output * slope).detach()
        expected = sum(float(slopes[n, c].sum()) ** 2 / 12 for n in range(6) for c in range(slopes.shape[1]))
        assert found[name] == pytest.approx(expected, rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_as_few_as_it_takes():
    """By bisection; all where even they don't meet it."""
    asked = []

    def ratio(count):
        asked.append(count)
        return 1 - 0.05 * count

    for budget, expected in [(0.96, 1), (0.7, 6), (0.5, 10)]:
        assert fewest(10, ratio, budget=budget + 1e-9) == (expected, pytest.approx(1 - 0.05 * expected))
    assert fewest(10, ratio, budget=0.4) == (10, pytest.approx(0.5))
    assert len(asked) < 4 * 5


def test_the_layers_that_matter_least_go_until_the_budget_is_met(begun, tmp_path):
    """By FLOPs, which are the same everywhere: those left would not have met it, and what went is told."""
    rank, run = begun(measure="flops", budget=0.7, kind="low_rank")
    names = substitutes(run.model, 1, kind="low_rank", groups=4, rank_share=0.25)
    information = fisher_information(run.model, run.sample_batch(), list(names), losses)
    whole = run.measured((8, 8)).train_gflops
    metrics = rank.train_epoch().metrics
    (change,) = run.changes
    replaced = list(change["replaced"])
    assert replaced == sorted(names, key=information.get)[: len(replaced)]
    assert run.measured((8, 8)).train_gflops / whole == pytest.approx(change["step_flops_share"])
    assert change["step_flops_share"] <= 0.7
    assert metrics["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert not isinstance(run.model.get_submodule(replaced[0]), nn.Conv2d)
    path = tmp_path / "changes.json"
    path.write_text(json.dumps(run.changes))
    fresh = rebuilt(build_model("small_cnn", num_classes=10, in_channels=1, image_size=(8, 8)), path)
    fresh.load_state_dict(run.model.state_dict())


@pytest.mark.parametrize("measure", ["flops", "time"])
def test_layers_are_weighed_by_the_trials_own_loss(tmp_path, monkeypatch, measure):
    """Of images that are mixed as those of steps are."""
    asked = []

    def seen(*of):
        asked.append(of)
        return fisher_information(*of)

    monkeypatch.setattr(layer_replacement, "fisher_information", seen)
    on = {"layer_replacement": True, "layer_replacement.budget": 0.9, "layer_replacement.measure": measure}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, batch_size=100, mixup=1.0, loss="bce", label_smoothing=0.1))
    try:
        rank.train_epoch()
    except StrategyError as error:  # where cheap layers are slower, that is told
        assert measure == "time" and "of a step's time can't be reached" in str(error)
    (_, batch, _, losses_of), *_ = asked
    assert batch.labels_n.shape == (100, 10) and 0.2 < float(batch.labels_n.max(1).values.mean()) < 1
    logits = torch.randn(100, 10, generator=torch.Generator().manual_seed(0))
    expected = training_loss(logits, batch.labels_n, kind="bce", label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(losses_of(logits, batch.labels_n), expected)
    rank.end()


def test_the_time_of_a_step_is_measured(begun):
    """A budget that any replacement meets takes one layer; the share stands in the changes."""
    rank, run = begun(budget=0.99, kind="grouped", groups=8)
    try:
        rank.train_epoch()
    except StrategyError as error:  # where grouped convolutions are slower, that is told
        assert "of a step's time can't be reached" in str(error)
    else:
        assert 0 < run.changes[0]["step_time_share"] <= 0.99


def test_a_budget_out_of_reach_is_told_with_the_nearest(begun):
    """By FLOPs before the training begins."""
    with pytest.raises(StrategyError, match=r"budget=0.1 of a step's flops can't be .* it is 0\.\d\d, the nearest"):
        begun(measure="flops", budget=0.1, kind="grouped", groups=2)


def linear(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_a_model_without_convolutions_is_told(begun):
    """Before the first step."""
    with pytest.raises(StrategyError, match=r"^layer_replacement: the model has no convolution"):
        begun(f"{__name__}:linear")
