"""Channels are found whatever the model's code does, and cut and copied with all that belongs to them."""

import copy
import json

import pytest
import torch
from strategy_nets import NETS, Mixed, Residual, Sized, gradients, images, net, trained
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tune_cnn.errors import StrategyError
from tune_cnn.training.surgery.empty import EmptyMaps
from tune_cnn.training.surgery.gather import Gather, gather_channels
from tune_cnn.training.surgery.shape import (
    check_eval_forward,
    empty,
    eval_forward,
    put_back,
    rebuild_shape,
    resized,
    sizes,
    take_out,
)
from tune_cnn.training.surgery.trace import channel_graph

every_net = pytest.mark.parametrize("name", NETS)


def drawn_counts(graph, seed=1):
    """Every channel once to three times."""
    random = torch.Generator().manual_seed(seed)
    return {root: int(torch.randint(1, 4, (), generator=random)) for root in graph.free()}


def every_other(graph):
    """Half of every layer's channels cut."""
    return {root: 0 for channels in graph.groups().values() for root in channels[1::2]}


@every_net
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_copied_channels_leave_the_outputs_as_they_are(name, training):
    """Wider by random copies, the model says the same, and its batch norm learns the same statistics."""
    model, images_nchw = net(name).double(), images(name).double()
    graph = channel_graph(model, images_nchw)
    before = copy.deepcopy(model).train(training)(images_nchw)
    counts = drawn_counts(graph)
    gather_channels(model, graph, counts)
    assert sum(p.numel() for p in model.parameters()) > 2 * sum(p.numel() for p in net(name).parameters())
    torch.testing.assert_close(model.train(training)(images_nchw), before, rtol=1e-9, atol=1e-9)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        if isinstance(module, nn.BatchNorm2d):
            assert len(module.running_mean) == len(module.weight) == module.num_features


@every_net
def test_the_optimizers_state_is_carried_as_gradients_are(name):
    """Momentum, a sum of gradients, is for the wider net what its own gradients would have added up to."""
    model, images_nchw = net(name), images(name)
    graph = channel_graph(model, images_nchw)
    counts = drawn_counts(graph)
    parameters = dict(model.named_parameters())
    of_narrow = {key: value.float() for key, value in gradients(model, images_nchw).items()}
    squared = {
        parameters[k]: {"exp_avg_sq": v**2, "exp_avg": v, "step": torch.tensor(3.0)} for k, v in of_narrow.items()
    }
    carried = gather_channels(model, graph, counts, squared)
    of_wide = gradients(model, images_nchw)
    assert carried
    for key, parameter in model.named_parameters():
        if parameter in carried:
            state, expected = carried[parameter], of_wide[key].float()
            torch.testing.assert_close(state["exp_avg"], expected, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(state["exp_avg_sq"], expected**2, rtol=1e-4, atol=1e-6)
            assert state["step"] == 3


@every_net
def test_cut_channels_are_gone_from_every_tensor_and_the_others_untouched(name):
    """Weights, batch norm and momentum keep the survivors' very values; the model that is left learns on."""
    model, images_nchw = net(name), images(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    trained(model, images_nchw, optimizer)
    graph = channel_graph(model, images_nchw)
    counts = every_other(graph)
    old = copy.deepcopy({n: t.detach() for n, t in (*model.named_parameters(), *model.named_buffers())})
    momentum = {n: optimizer.state[p]["momentum_buffer"].clone() for n, p in model.named_parameters()}
    carried = gather_channels(model, graph, counts, optimizer.state)
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        gather = Gather(key, old[key], graph, counts) if key in graph.axes else torch.clone
        assert torch.equal(tensor, gather(old[key]))
        if tensor in carried:
            assert torch.equal(carried[tensor]["momentum_buffer"], gather(momentum[key]))
    fresh = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for parameter in model.parameters():
        fresh.state[parameter] = dict(carried.get(parameter, optimizer.state[parameter]))
    assert torch.isfinite(trained(model, images_nchw, fresh)(images_nchw)).all()


def test_layers_joined_by_an_addition_have_their_channels_in_common():
    """Of a residual network the blocks' outputs are one width per stage; within a block each is its own."""
    graph = channel_graph(net("resnet20"), images("resnet20"))
    stages = [graph.roots(f"{block}.conv2.weight", 0) for block in (3, 4, 5)]
    assert stages[0] == stages[1] == stages[2] == graph.roots("0.weight", 0)
    assert not set(graph.roots("3.conv1.weight", 0)) & set(stages[0])
    # The shortcut without weights pads with zeros: the first maps of a stage are those of the stage before.
    assert graph.roots("6.conv2.weight", 0)[:4] == stages[0]


def test_images_and_classes_are_never_changed():
    """Neither is among the free channels."""
    graph = channel_graph(net("small_cnn"), images("small_cnn"))
    assert set(graph.roots("0.weight", 1)) == set(graph.roots("12.weight", 0)) == {-1}


class Unknown(nn.Module):
    """A Fourier transform between two convolutions, and a convolution whose filters are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 4), (4, 6), (6, 5)))
        self.four = nn.Conv2d(5, 4, 3)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)

    def forward(self, images_nchw):
        maps = torch.fft.fft2(self.one(images_nchw)).abs()
        maps = F.conv2d(self.grouped(self.two(maps)).relu(), self.three.weight / 2, padding=1)
        return self.four(maps).mean((2, 3))


def test_what_cannot_be_followed_stays_as_it_is_and_is_named():
    """Channels that enter or leave an unknown operation are fixed; the reason names module and operation."""
    model, images_nchw = Unknown(), torch.randn(2, 3, 8, 8)
    graph = channel_graph(model, images_nchw)
    assert not graph.free()
    told = " ".join(graph.channels.reasons)
    assert "fft2 can't be followed" in told and "grouped: conv2d" in told and "own forward: conv2d" in told


def test_a_width_that_is_written_into_the_code_is_told():
    """The smaller model is tried, and the error says what to write instead."""
    model, images_nchw = Sized(), torch.randn(2, 3, 8, 8)
    graph = channel_graph(model, images_nchw)
    gather_channels(model, graph, every_other(graph))
    with pytest.raises(StrategyError, match=r"prunetrain: the model's forward can't take other widths.*flatten"):
        check_eval_forward(model, images_nchw, doing="prunetrain")


def test_a_model_is_left_as_it_was_by_being_followed():
    """Modes, statistics and hooks."""
    model = net("mixed")
    model.norm.eval()
    state = copy.deepcopy(model.state_dict())
    channel_graph(model, images("mixed"))
    assert model.training and not model.norm.training
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_one_tensor_in_two_layers_is_cut_in_both():
    """Layers that share their weights go on sharing them."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    model[3].weight = model[1].weight
    images_nchw = torch.randn(2, 3, 8, 8)
    graph = channel_graph(model, images_nchw)
    gather_channels(model, graph, every_other(graph))
    assert model[3].weight is model[1].weight and model[1].weight.shape[:2] == (2, 2)
    eval_forward(model, images_nchw)


def test_channels_last_stays_channels_last():
    """New weights lie in memory as the old ones did."""
    model = net("small_cnn").to(memory_format=torch.channels_last)
    graph = channel_graph(model, images("small_cnn"))
    gather_channels(model, graph, drawn_counts(graph))
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.ndim == 4)


@every_net
def test_a_fresh_model_is_brought_to_the_same_shape_by_the_record(name):
    """The record crosses as JSON; the rebuilt model takes the weights and gives the same answers."""
    model, images_nchw = net(name), images(name)
    before = sizes(model)
    graph = channel_graph(model, images_nchw)
    gather_channels(model, graph, every_other(graph))
    change = json.loads(json.dumps({"sizes": resized(before, sizes(model))}))
    fresh = rebuild_shape(NETS[name](), change)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(eval_forward(fresh, images_nchw), eval_forward(model, images_nchw))
    assert str(fresh) == str(model)


@pytest.mark.parametrize(
    "arguments",
    [{"padding": 1}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"padding": "valid"}],
    ids=str,
)
def test_empty_maps_are_as_large_as_the_convolutions_would_be(arguments):
    """On even and odd sides; without a multiplication."""
    convolution = nn.Conv2d(3, 5, 3, **arguments)
    for side in (8, 11):
        images_nchw = torch.randn(2, 3, side, side + 1)
        with FlopCounterMode(display=False) as counter:
            maps = EmptyMaps(convolution, 4)(images_nchw)
        assert maps.shape[2:] == convolution(images_nchw).shape[2:] and maps.shape[1] == 4
        assert not maps.any() and counter.get_total_flops() == 0


def test_an_emptied_convolution_still_counts_among_what_it_is_added_to():
    """Its maps of zeros are followed, and grow and shrink with the others."""
    model, images_nchw = Residual(), torch.randn(2, 3, 8, 8)
    empty(model, "conv2", 6)
    graph = channel_graph(model, images_nchw)
    assert graph.roots("conv2.zeros", 0) == graph.roots("stem.weight", 0)
    expected = eval_forward(model, images_nchw)
    gather_channels(model, graph, drawn_counts(graph))
    torch.testing.assert_close(eval_forward(model, images_nchw), expected)


def test_an_absent_layer_has_no_weights_and_comes_back_as_it_was():
    """Neither trained nor stored meanwhile; in the mode that its place has when it returns."""
    model = net("small_cnn")
    layer = model[3]
    take_out(model, "3")
    assert "3.weight" not in model.state_dict() and layer.weight not in set(model.parameters())
    model.eval()
    assert put_back(model, "3") is layer and model[3] is layer and not layer.training


def test_mixed_is_followed_whole():
    """What the nets of these tests hold is free but for images and classes."""
    graph = channel_graph(Mixed(), images("mixed"))
    assert {name.partition(".")[0] for places in graph.groups() for name, _ in places} == {
        "stem", "depthwise", "squeeze", "excite", "side", "mixing", "norm", "down", "up", "scale", "head",
    }  # fmt: skip
    assert list(graph.channels.reasons) == ["the model's output"]
