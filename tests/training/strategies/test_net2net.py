"""Net2Net: the grown net says what its teacher said, whatever it is made of, and learns on from there."""

import copy
from dataclasses import replace

import pytest
import torch
from ranks import digits_job, train
from strategy_nets import images, net
from torch import nn

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec.reading.loading import parse_spec
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.inspection.strategies import inspect_strategies
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.net2net import Net2Net, add_noise, deepen, growth, narrow
from tune_cnn.training.surgery.blocks import insertable_blocks, spread
from tune_cnn.training.surgery.gather import gather_channels
from tune_cnn.training.surgery.shape import eval_forward, take_out
from tune_cnn.training.surgery.trace import channel_graph


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("net2net")


@pytest.fixture
def begun(folder):
    """Begins a training with net2net on; the run."""
    rank = RankTraining()

    def begin(model="small_cnn", **knobs):
        on = {f"net2net.{name}": value for name, value in knobs.pop("net2net", {}).items()}
        rank.begin(digits_job(folder, model=model, strategies={"net2net": True, **on}, epochs=4, **knobs))
        return rank, rank._current._training._run

    yield begin
    rank.end()


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("name", "start_depth"), [("lenet5", 1.0), ("small_cnn", 0.0), ("resnet20", 0.0), ("resnet20", 0.5), ("mixed", 1.0)]
)
def test_growth_leaves_the_outputs_as_they_are(name, start_depth, training):
    """Wider and deeper at once, batch norm by the batch's statistics or by the running ones."""
    model, images_nchw = net(name).double(), images(name).double()
    full = parameters(model)
    absent = spread(insertable_blocks(model, images_nchw), start_depth)
    for layer in (layer for block in absent for layer in block.names):
        take_out(model, layer)
    graph = channel_graph(model, images_nchw)
    target = {group: len(channels) for group, channels in graph.groups().items()}
    narrow(model, graph, 0.5 if name != "mixed" else 1.0)
    teacher = copy.deepcopy(model)
    graph = channel_graph(model, images_nchw)
    gather_channels(model, graph, growth(graph, target, torch.Generator().manual_seed(3)))
    deepen(model, absent, images_nchw)
    before, after = (one.train(training)(images_nchw) for one in (teacher, model))
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    assert parameters(model) == full and (parameters(teacher) < 0.5 * full or name == "mixed")
    assert after.std(0).max() > 1e-3


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["lenet5", "small_cnn", "resnet20", "densenet", "mixed"])
def test_channels_that_nothing_reads_leave_the_outputs_as_they_are_and_learn(name, training):
    """They are drawn, as long as the others in the mean; what reads them is 0 and has a gradient."""
    model, images_nchw = net(name).double(), images(name).double()
    teacher, graph = copy.deepcopy(model), channel_graph(model, images_nchw)
    counts = dict.fromkeys(graph.free(), 2)
    gather_channels(model, graph, counts, random=torch.Generator().manual_seed(0))
    before, after = (one.train(training)(images_nchw) for one in (teacher, model))
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    after.square().mean().backward()
    read = [name for name in graph.dense if (model.get_parameter(name) == 0).any()]
    assert read
    for layer in read:
        weight = model.get_parameter(layer)
        assert (weight.grad[weight == 0] != 0).any(), layer


def test_drawn_channels_are_as_long_as_the_others_and_have_no_momentum():
    """Those that were there keep weights and momentum to the bit."""
    model, images_nchw = net("small_cnn"), images("small_cnn")
    old = model[3].weight.detach().clone()
    state = {p: {"momentum_buffer": torch.ones_like(p)} for p in model.parameters()}
    graph = channel_graph(model, images_nchw)
    random = torch.Generator().manual_seed(0)
    carried = gather_channels(model, graph, dict.fromkeys(graph.free(), 2), state, random=random)
    weight, momentum = model[3].weight, carried[model[3].weight]["momentum_buffer"]
    assert torch.equal(weight[0::2, 0::2], old) and not weight[:, 1::2].any()
    assert not torch.allclose(weight[1::2, 0::2], old)
    drawn = model[0].weight[1::2].flatten(1).norm(dim=1)
    torch.testing.assert_close(drawn, model[0].weight[0::2].flatten(1).norm(dim=1).mean().expand(drawn.shape))
    assert bool((momentum[0::2, 0::2] == 1).all()) and not momentum[1::2].any() and not momentum[:, 1::2].any()


@pytest.mark.parametrize("new_channels", ["copies", "unread"])
@pytest.mark.parametrize("model", ["small_cnn", "resnet20"])
def test_in_the_loop_the_teacher_is_small_and_the_grown_net_is_the_configured_one(begun, model, new_channels):
    """Half of the epochs each; at growth the validation images get the answers that they had."""
    rank, run = begun(model, batch_size=128, net2net={"noise": 0.0, "start_depth": 0.0, "new_channels": new_channels})
    small = [rank.train_epoch() for _ in range(2)][-1].metrics
    images_nchw = run.sample_batch().images_nchw
    before = eval_forward(run.model, images_nchw)
    run.strategies["net2net"].start_epoch(run, 2)
    torch.testing.assert_close(eval_forward(run.model, images_nchw), before, rtol=1e-3, atol=1e-4)
    assert all(run.optimizer.state[p]["momentum_buffer"].shape == p.shape for p in run.model.parameters())
    whole = build_model(model, num_classes=10, in_channels=1, image_size=(8, 8))
    assert {n: p.shape for n, p in run.model.state_dict().items()} == {
        n: p.shape for n, p in whole.state_dict().items()
    }
    assert small["parameters"] < 0.5 * parameters(whole)


def test_the_rate_falls_at_growth_where_asked_for(begun):
    """`lr_factor` is on what the schedule gives."""
    rank, run = begun(net2net={"lr_factor": 0.1, "grow_at": 0.25})
    rank.train_epoch()
    assert run.learning_rate_ratio == 1.0
    rank.train_epoch()
    assert run.learning_rate_ratio == 0.1


def test_noise_lets_copies_part():
    """Without it copies of a channel stay equal; with it they differ by about that share of the weights' spread."""
    for noise in (0.0, 0.1):
        model, images_nchw = net("small_cnn"), images("small_cnn")
        graph = channel_graph(model, images_nchw)
        counts = dict.fromkeys(graph.free(), 2)
        spread_before = model[3].weight.std()
        gather_channels(model, graph, counts)
        add_noise(model, graph, counts, noise, torch.Generator().manual_seed(0))
        first, second = model[3].weight[0::2], model[3].weight[1::2]
        assert ((second - first).std() / model[3].weight.std()).item() == pytest.approx(noise, rel=0.1)
        assert model[3].weight.std() < spread_before  # outgoing weights are shared out


def test_the_first_weights_of_a_teacher_are_spread_as_a_small_nets_own():
    """Of 0.5 of the width a layer reads half of the channels, with weights √2 as large."""
    model, images_nchw = net("small_cnn"), images("small_cnn")
    wide = model[3].weight.detach()[:4, :4].clone()
    narrow(model, channel_graph(model, images_nchw), 0.5)
    torch.testing.assert_close(model[3].weight.detach(), wide * 2**0.5)


def test_growth_copies_each_channel_at_least_once_and_others_at_random():
    """The widths come out exact, the first ones all stay, and another seed draws others."""
    model, images_nchw = net("lenet5"), images("lenet5")
    graph = channel_graph(model, images_nchw)
    groups = graph.groups()
    target = {group: 2 * len(channels) - 1 for group, channels in groups.items()}
    counts = [growth(graph, target, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    for group, channels in groups.items():
        assert sum(counts[0][root] for root in channels) == target[group]
    assert min(counts[0].values()) == 1 and max(counts[0].values()) > 2
    assert counts[0] == counts[1] != counts[2]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("small_cnn", [("3", "4", "5")]),
        ("resnet20", [("3",), ("4",), ("5",), ("7",), ("8",), ("10",), ("11",)]),
        ("lenet5", []),
        ("densenet", []),
        ("mixed", []),
    ],
)
def test_layers_that_can_be_put_in_later_are_found_by_trying_them(name, blocks):
    """Residual blocks without a change of size, convolutions of equal width before a ReLU; the model is left alone."""
    model = net(name)
    state = copy.deepcopy(model.state_dict())
    assert [block.names for block in insertable_blocks(model, images(name))] == blocks
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_the_teachers_layers_are_spread_over_the_net():
    """A share of them stays, evenly; none at 0, all at 1."""
    blocks = insertable_blocks(net("resnet20"), images("resnet20"))
    assert [block.names[0] for block in spread(blocks, 0.5)] == ["3", "5", "8", "11"]
    assert spread(blocks, 0.0) == blocks and spread(blocks, 1.0) == []


def seven_wide(*, num_classes, in_channels, image_size):
    return build_model(
        "small_cnn", num_classes=num_classes, in_channels=in_channels, image_size=image_size, arguments={"width": 7}
    )


@pytest.mark.parametrize(
    ("model", "knobs", "told"),
    [
        (
            f"{__name__}:seven_wide",
            {},
            "start_width=0.5 of the 7 channels of 0.weight are 3.5: growth from them doesn't",
        ),
        ("small_cnn", {"start_width": 1.0}, "both 1: nothing is left to grow"),
        (f"{__name__}:linear", {}, "no layer whose width can be changed"),
        (f"{__name__}:linear", {"start_depth": 0.0}, "no layer that could be put in later"),
    ],
)
def test_what_cannot_grow_is_told(begun, model, knobs, told):
    """With the layer and what to do."""
    with pytest.raises(StrategyError, match=rf"^net2net: .*{told}"):
        begun(model, net2net=knobs)


def linear(*, num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_one_epoch_is_too_few():
    """Growth needs an epoch before and one after; on a longer horizon it is never the first nor past the last."""
    with pytest.raises(StrategyError, match="net2net: needs 2 epochs at least, got epochs=1"):
        Net2Net().growth_epoch(1)
    assert [Net2Net(grow_at=at).growth_epoch(10) for at in (0.05, 0.5, 0.95)] == [1, 5, 9]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"epochs": [1, 4]}, "space.epochs: net2net needs 2 epochs at least, got 1"),
        ({"strategies": {"net2net": {"start_width": [0.5, 1.0]}}}, "start_width and start_depth may both be 1"),
        ({"strategies": {"net2net": {"start_width": 0.75}}, "model.width": 6}, "start_width=0.75 of the 6 channels"),
    ],
)
def test_a_space_in_which_some_trial_could_not_grow_is_refused_before_the_search(tmp_path, space, told):
    """A combination of knobs, a horizon or a width that leaves nothing to grow."""
    spec = parse_spec(
        {
            "study": "growing",
            "data": {"name": "digits", "subset": 200},
            "model": {"name": "small_cnn"},
            "objectives": ["accuracy", "train_time_s"],
            "budget": {"trials": 1},
            "space": {"strategies": {"net2net": {}}, "epochs": 4, **space},
        }
    )
    images = prepare(spec.data, split_seed=0, cache_dir=tmp_path)
    with pytest.raises(SpecError, match=told):
        inspect_strategies(spec, images, cache_dir=tmp_path)


def test_a_resumed_training_keeps_its_rate_after_growth(begun, folder, tmp_path):
    """`lr_factor` outlives an interruption, though the batch is as it was."""
    rank, _ = begun(net2net={"lr_factor": 0.1})
    job = replace(rank._current.context.job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    train(rank, job, epochs=3)
    other = RankTraining()
    assert other.begin(job) == 3
    assert other._current._training._run.learning_rate_ratio == 0.1
    other.end()
