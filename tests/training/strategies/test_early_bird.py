"""Early-bird tickets: the mask, its distance and the moment of the cut are the paper's; the cut is real."""

import copy

import pytest
import torch
from ranks import digits_job
from strategy_nets import images, net
from torch import nn

from tune_cnn.errors import StrategyError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.early_bird import distance, mask_of, scores
from tune_cnn.training.surgery.gather import gather_channels
from tune_cnn.training.surgery.trace import channel_graph


@pytest.fixture
def begun(tmp_path):
    rank = RankTraining()

    def begin(model="small_cnn", epochs=6, **knobs):
        on = {"early_bird": True, **{f"early_bird.{name}": value for name, value in knobs.items()}}
        rank.begin(digits_job(tmp_path, model=model, strategies=on, epochs=epochs, batch_size=200))
        return rank, rank._current._training._run

    yield begin
    rank.end()


def test_the_mask_leaves_out_the_least_scales_of_the_whole_net():
    """Over all layers together, by their absolute value."""
    model = net("small_cnn")
    graph = channel_graph(model, images("small_cnn"))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    every = torch.cat([norm.weight.detach().abs() for norm in norms])
    with torch.no_grad():
        norms[0].weight.neg_()
    mask = mask_of(model, graph, 0.25)
    assert len(mask) == len(every) and sum(not stays for stays in mask.values()) == len(every) // 4
    least = every.sort().values[len(every) // 4]
    of_channels = scores(model, graph)
    assert all(stays == (of_channels[root] >= least - 1e-7) for root, stays in mask.items())


@pytest.mark.parametrize("name", ["small_cnn", "resnet20", "mixed"])
def test_a_layer_keeps_one_channel(name):
    """However much is to go, and layers joined by an addition keep what any of them needs."""
    model, images_nchw = net(name), images(name)
    graph = channel_graph(model, images_nchw)
    mask = mask_of(model, graph, 0.9)
    assert not all(mask.values())
    for group in graph.groups().values():
        assert any(mask.get(root, True) for root in group)
    small = copy.deepcopy(model)
    gather_channels(small, graph, {root: 0 for root, stays in mask.items() if not stays})
    assert torch.isfinite(small(images_nchw)).all()
    assert sum(p.numel() for p in small.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())


def test_the_distance_is_hammings():
    """The share of channels about which two masks differ."""
    assert distance({0: True, 1: True, 2: False, 5: False}, {0: True, 1: False, 2: False, 5: True}) == 0.5


@pytest.mark.parametrize(("window", "distance", "latest", "cut_at"), [(2, 0.5, 0.9, 2), (20, 0.1, 0.5, 3)])
def test_it_cuts_when_masks_are_alike_or_at_the_latest(begun, window, distance, latest, cut_at):
    """Then, and then alone, parameters and operations fall; the momentum goes along and the penalty ends."""
    rank, run = begun(window=window, distance=distance, latest=latest, share=0.5, l1=0.01)
    strategy, found = run.strategies["early_bird"], []
    loss = torch.tensor(1.0)
    for epoch in range(6):
        found.append(rank.train_epoch().metrics)
        assert (strategy.penalty(run, loss) is None) is (epoch >= cut_at)
    sizes = [metrics["parameters"] for metrics in found]
    assert len(set(sizes[:cut_at])) == 1 and sizes[cut_at] < 0.6 * sizes[0] and len(set(sizes[cut_at:])) == 1
    assert found[-1]["inference_gflops"] < 0.7 * found[0]["inference_gflops"]
    assert found[-1]["train_loss"] < found[0]["train_loss"]
    for parameter in run.model.parameters():
        assert run.optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape


def test_masks_that_go_on_changing_are_waited_for(begun):
    """While the order of the scales turns over it waits; it cuts once it has been the same for a window."""
    _, run = begun(epochs=20, window=3, distance=0.1, latest=0.9, share=0.5)
    strategy = run.strategies["early_bird"]
    norms = [module for module in run.model.modules() if isinstance(module, nn.BatchNorm2d)]
    for epoch, turned in enumerate([False, True, False, True, True, True]):
        assert not strategy._is_cut
        with torch.no_grad():
            for norm in norms:
                rising = torch.linspace(0.1, 1.0, len(norm.weight))
                norm.weight.copy_(rising.flip(0) if turned else rising)
        strategy.start_epoch(run, epoch + 1)
    assert strategy._is_cut


def linear(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_a_model_without_scales_is_told(begun):
    """Before the first step."""
    with pytest.raises(StrategyError, match=r"^early_bird: the model has no channel with a batch norm's scale"):
        begun(f"{__name__}:linear")
