"""PruneTrain: dead channels are found, cut for real with all that is theirs, and the penalty is the paper's."""

import copy
import time

import pytest
import torch
from ranks import digits_job
from strategy_nets import images, net, trained
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tune_cnn.errors import StrategyError
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.prunetrain import UNDER_ROOT, freed_by_memory, grown_batch, lasso_strength
from tune_cnn.training.surgery.empty import EmptyMaps
from tune_cnn.training.surgery.pruning import GroupNorms, cut_channels, dead_channels
from tune_cnn.training.surgery.shape import rebuild_shape
from tune_cnn.training.surgery.trace import channel_graph

THRESHOLD = 1e-4
UNDER = 9e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prunetrain")


@pytest.fixture
def begun(folder):
    """Begins a training with prunetrain on; the rank, the run and the strategy."""
    rank = RankTraining()

    def begin(model="small_cnn", strategies=None, settings=None, **knobs):
        on = {f"prunetrain.{name}": value for name, value in knobs.items()} | (strategies or {})
        rank.begin(digits_job(folder, model=model, strategies={"prunetrain": True, **on}, **(settings or {})))
        run = rank._current._training._run
        return rank, run, run.strategies["prunetrain"]

    yield begin
    rank.end()


def with_dead(model, images_nchw, kill):
    """The model with these channels' weights just under the threshold, and one in which they are zero.

    kill(channels of a group) gives those that die.
    """
    graph = channel_graph(model, images_nchw)
    dying = {root for channels in graph.groups().values() for root in kill(channels)}
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for name in graph.dense:
            for axis, features in graph.axes[name].items():
                start = 0
                for (_, size), root in zip(features, graph.roots(name, axis), strict=True):
                    if root in dying:
                        model.get_parameter(name).narrow(axis, start, size).clamp_(-UNDER, UNDER)
                        masked.get_parameter(name).narrow(axis, start, size).zero_()
                    start += size
    return masked, dying


def flops(model, images_nchw) -> int:
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(model)(images_nchw)
    return counter.get_total_flops()


def cut(model, images_nchw, **arguments):
    return cut_channels(model, images_nchw, threshold=THRESHOLD, doing="prunetrain", **arguments)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["lenet5", "small_cnn", "resnet20", "densenet", "mixed"])
def test_the_cut_net_gives_the_outputs_of_the_masked_larger_one(name, training):
    """Every other channel dead: as though its weights were zero; fewer parameters, fewer operations."""
    model, images_nchw = net(name).double(), images(name).double()
    masked, dying = with_dead(model, images_nchw, lambda channels: channels[::2])
    assert all(size > 1 for size in map(len, channel_graph(model, images_nchw).groups().values()))
    before, images_before = sum(p.numel() for p in model.parameters()), flops(model, images_nchw)
    done = cut(model, images_nchw)
    assert done.channels == len(dying) > 0 and not done.change["empty"]
    expected, got = (one.train(training)(images_nchw) for one in (masked, model))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert sum(p.numel() for p in model.parameters()) < 0.6 * before and flops(model, images_nchw) < 0.6 * images_before
    assert expected.std(0).max() > 1e-4


def test_a_step_of_the_cut_net_is_cheaper(capsys):
    """Parameters and operations fall; seconds are printed, not asserted: a machine may have other work, too."""
    arguments = {"width": 48}
    model = build_model("small_cnn", num_classes=4, in_channels=3, image_size=(16, 16), arguments=arguments)
    images_nchw = torch.randn(32, 3, 16, 16)
    found = {}
    for which in ("whole", "cut"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        trained(model, images_nchw, optimizer, steps=1)
        begun = time.perf_counter()
        trained(model, images_nchw, optimizer, steps=3)
        step_s = (time.perf_counter() - begun) / 3
        found[which] = (sum(p.numel() for p in model.parameters()), flops(model, images_nchw), round(step_s, 4))
        if which == "whole":
            with_dead(model, images_nchw, lambda channels: channels[::2])
            cut(model, images_nchw)
    with capsys.disabled():
        print(
            f"\nsmall_cnn, half of the channels cut: {found['whole']} -> {found['cut']} (parameters, FLOPs, s a step)"
        )
    assert found["cut"][0] < 0.3 * found["whole"][0] and found["cut"][1] < 0.4 * found["whole"][1]


def test_only_the_absolute_value_counts():
    """A channel of large negative weights lives, as does one that only its readers or only its makers keep alive."""
    model, images_nchw = net("small_cnn"), images("small_cnn")
    graph = channel_graph(model, images_nchw)
    with torch.no_grad():
        for weight in (model[0].weight, model[3].weight):
            weight.copy_(-weight.abs().clamp(min=0.01))
        model[0].weight[2] = 0.0  # its readers live
        model[0].weight[3], model[3].weight[:, 3] = 0.0, UNDER  # this one is dead
        model[3].weight[:, 4] = 0.0  # its makers live
    assert dead_channels(model, graph, THRESHOLD) == {graph.roots("0.weight", 0)[3]}


def test_layers_joined_by_an_addition_keep_the_union_of_their_live_channels():
    """A channel of a stage dies when it is dead in every block; not before."""
    model, images_nchw = net("resnet20"), images("resnet20")
    graph = channel_graph(model, images_nchw)
    channel = graph.roots("6.conv2.weight", 0)[5]  # of the second stage alone
    places = [(n, a) for n in graph.dense for a in graph.axes[n] if channel in graph.roots(n, a)]
    assert len(places) > 5
    with torch.no_grad():
        for name, axis in places:
            assert not dead_channels(model, graph, THRESHOLD)
            at = graph.roots(name, axis).index(channel)
            model.get_parameter(name).select(axis, at).fill_(-UNDER)
    assert dead_channels(model, graph, THRESHOLD) == {channel}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["residual", "resnet20"])
def test_a_branch_left_empty_is_dropped(name, training):
    """Its convolutions turn into maps of zeros; the net says what the masked one says, and can be built again."""
    model, images_nchw = net(name).double(), images(name).double()
    graph = channel_graph(model, images_nchw)
    inner = {graph.roots(key, 0)[0] for key in graph.dense if "conv1" in key}
    masked, _ = with_dead(model, images_nchw, lambda channels: channels if inner & set(channels) else [])
    before = copy.deepcopy(model)
    done = cut(model, images_nchw)
    assert set(done.change["empty"]) == {n for n, m in before.named_modules() if n.endswith(("conv1", "conv2"))}
    expected, got = (one.train(training)(images_nchw) for one in (masked, model))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert flops(model, images_nchw) < 0.3 * flops(before, images_nchw)
    again = rebuild_shape(copy.deepcopy(before), done.change)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.train(training)(images_nchw), got)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    assert torch.isfinite(trained(model, images_nchw, optimizer)(images_nchw)).all()
    assert cut(model, images_nchw).channels == 0 and any(isinstance(m, EmptyMaps) for m in model.modules())


@pytest.mark.parametrize(("name", "layer"), [("lenet5", "9"), ("small_cnn", "0"), ("residual", "stem")])
def test_a_threshold_that_would_empty_the_net_is_an_error(name, layer):
    """With the layer that has no way around it, of convolutions and of linear layers."""
    model, images_nchw = net(name), images(name)
    first = channel_graph(model, images_nchw).roots(f"{layer}.weight", 0)[0]
    with_dead(model, images_nchw, lambda channels: channels if first in channels else [])
    with pytest.raises(
        StrategyError, match=rf"^prunetrain: all channels between .*\b{layer}\b.* the net would be empty"
    ):
        cut(model, images_nchw)


def test_the_penalty_is_the_papers():
    """Of small_cnn by its formula: output channels but the classifier's, input channels but the first layer's."""
    model, images_nchw = net("small_cnn"), images("small_cnn")
    norms = GroupNorms(model, channel_graph(model, images_nchw))
    weights = [model[at].weight.detach() for at in (0, 3, 7, 12)]
    expected = 0.0
    for weight in weights[:-1]:
        expected += sum((channel.square().sum() + UNDER_ROOT).sqrt() for channel in weight)
    for weight in weights[1:]:
        expected += sum((channel.square().sum() + UNDER_ROOT).sqrt() for channel in weight.unbind(1))
    torch.testing.assert_close(norms(model, UNDER_ROOT).detach(), expected)


def test_the_penalty_leaves_depthwise_filters_out_and_takes_flattened_maps_whole():
    """A linear layer behind 4×4 maps has as many input groups as there were maps."""
    model, images_nchw = net("mixed"), images("mixed")
    norms = GroupNorms(model, channel_graph(model, images_nchw))
    norms(model, UNDER_ROOT).backward()
    assert model.depthwise.weight.grad is None and model.stem[0].weight.grad is not None
    linear = model.head[0].weight
    groups = linear.detach().reshape(12, 8, 16)
    expected = linear.detach() / linear.detach().norm(dim=1, keepdim=True)
    expected = expected + (groups / groups.norm(dim=(0, 2), keepdim=True)).reshape(12, 128)
    torch.testing.assert_close(linear.grad, expected, rtol=1e-4, atol=1e-5)


def test_the_strength_gives_the_wanted_share_of_the_loss():
    """λP / (CE + λP) is the ratio asked for."""
    cross_entropy, norms = torch.tensor(2.3), torch.tensor(410.0)
    penalty = lasso_strength(0.25, cross_entropy, norms) * norms
    assert float(penalty / (cross_entropy + penalty)) == pytest.approx(0.25)


def test_a_proximal_step_shortens_every_norm_by_as_much_and_ends_at_zero():
    """Channels shorter than the step become exactly zero, fixed ones stay."""
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    graph = channel_graph(model, torch.randn(2, 3, 8, 8))
    with torch.no_grad():
        model[0].weight[2] *= 1e-3
    out, read = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    GroupNorms(model, graph).shrink(model, 0.05)
    lengths = out.flatten(1).norm(dim=1)
    torch.testing.assert_close(model[0].weight.flatten(1).norm(dim=1), (lengths - 0.05).clamp(min=0))
    assert not model[0].weight[2].any() and model[0].weight[1].any()
    lengths = read.transpose(0, 1).flatten(1).norm(dim=1)
    torch.testing.assert_close(model[2].weight.transpose(0, 1).flatten(1).norm(dim=1), (lengths - 0.05).clamp(min=0))
    held = model[0].weight.detach().clone()
    model[0].weight.requires_grad_(False)
    GroupNorms(model, graph).shrink(model, 0.05)
    assert torch.equal(model[0].weight, held)  # a frozen layer stays as it is


@pytest.mark.parametrize(
    ("freed", "ranks", "most", "expected"),
    [
        (1.0, 1, 9999, 64),
        (1.2, 1, 9999, 64),
        (1.3, 1, 9999, 80),
        (2.0, 1, 9999, 128),
        (2.0, 3, 9999, 124),
        (4, 1, 100, 96),
    ],
)
def test_the_batch_grows_by_quarters_into_the_freed_memory(freed, ranks, most, expected):
    """A multiple of the ranks, never more images than there are, never smaller."""
    batch_size = 64 if ranks != 3 else 66
    assert grown_batch(batch_size, ranks=ranks, freed=freed, most=most) == (expected if ranks != 3 else 126)


def test_memory_that_is_measured_counts_weights_and_images():
    """Of 1000 bytes, 200 lay still and 800 were images'; now 100 lie still and an image takes half."""
    assert freed_by_memory(1000.0, (200.0, 100.0), 0.5) == 900 / 400
    assert freed_by_memory(1000.0, (200.0, 200.0), 1.0) == 1.0
    assert freed_by_memory(200.0, (200.0, 100.0), 0.5) == 2.0  # nothing was seen of a step


def test_the_spec_bounds_the_batch(begun):
    """Where memory would let it grow further; the rate goes with the batch that it has."""
    _, run, strategy = begun(lpr=0.8, most_batch=1.5, settings={"epochs": 4, "batch_size": 64})
    strategy._activations = 1
    strategy._grow_batch(run, 0.25)
    assert run.batch_size == 96 and run.learning_rate_ratio == 1.5
    strategy.most_batch = 32.0
    strategy._grow_batch(run, 0.25)
    assert run.batch_size == 256 and run.learning_rate_ratio == 4.0
    strategy._grow_batch(run, 0.5)  # it never shrinks
    assert run.batch_size == 256


def test_in_the_loop_channels_are_cut_and_the_batch_grows_with_the_rate(begun):
    """At the cut parameters and operations fall, momentum is cut along, and the next steps are fewer and longer."""
    settings = {"epochs": 4, "batch_size": 200}
    rank, run, strategy = begun(lpr=0.8, threshold=0.05, interval=0.25, settings=settings)
    first = rank.train_epoch().metrics
    strength = strategy._strength.clone()
    while run.batch_size == 200:
        last = rank.train_epoch()
        assert not last.done or run.batch_size > 200
    assert torch.equal(strategy._strength, strength)
    assert last.metrics["parameters"] < first["parameters"]
    assert last.metrics["inference_gflops"] < first["inference_gflops"]
    assert run.learning_rate_ratio == run.batch_size / 200
    assert run.steps_per_epoch == -(-540 // run.batch_size)
    for parameter in run.model.parameters():
        assert run.optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape


def test_after_net2net_it_waits_until_the_net_has_grown(begun):
    """No penalty for the teacher; the strength comes from the grown net's first step."""
    rank, run, strategy = begun(strategies={"net2net": True}, settings={"epochs": 4})
    for epoch, waits in [(0, True), (1, True), (2, False)]:
        rank.train_epoch()
        assert run.epoch == epoch and (strategy._strength is None) is waits
    assert [change["strategy"] for change in run.changes][:2] == ["net2net", "net2net"]


def test_a_grown_and_pruned_net_has_the_batch_and_the_rate_of_both(begun):
    """The batch grows after the growth of the net alone, and the rate is the batch's ratio times net2net's factor."""
    on = {"net2net": True, "net2net.grow_at": 0.25, "net2net.lr_factor": 0.5}
    knobs = {"interval": 0.25, "most_batch": 1.75}
    rank, run, _ = begun(strategies=on, settings={"epochs": 4, "batch_size": 100}, **knobs)
    sizes = []
    for epoch in range(4):
        if epoch == 2:  # the net has grown, and a part of it has died
            with_dead(run.model, torch.randn(2, 1, 8, 8), lambda channels: channels[::2])
        rank.train_epoch()
        sizes.append(run.batch_size)
    assert sizes == [100, 100, 175, 175]
    assert run.learning_rate_ratio == 1.75 * 0.5


def linear(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_a_model_without_channels_to_cut_is_told(begun):
    """Before the first step."""
    with pytest.raises(StrategyError, match=r"^prunetrain: the model has no channel that can be cut"):
        begun(f"{__name__}:linear")
