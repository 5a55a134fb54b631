"""Stochastic depth: blocks are left out with the paper's chances, cost nothing then, and are scaled in evaluation."""

import pytest
import torch
from brisk import MODEL, little
from ranks import digits_job
from torch.nn import functional as F

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.stochastic_depth import chances


def test_chances_fall_in_a_line_to_the_last_blocks():
    assert chances(4, 0.5) == [0.875, 0.75, 0.625, 0.5]
    assert chances(1, 0.3) == pytest.approx([0.3])


def begun(folder, **settings):
    rank = RankTraining()
    on = {"stochastic_depth": True, "stochastic_depth.survival": 0.5}
    rank.begin(digits_job(folder, model=MODEL, strategies=on, batch_size=60, **settings))
    return rank


def test_a_block_that_is_left_out_is_neither_computed_nor_learned(tmp_path, monkeypatch):
    """How often is what the draws say, and the count of operations has what was saved."""
    rank = begun(tmp_path, epochs=3)
    training, model = rank._current._training, rank._current.model
    calls: list[str] = []
    for name in ("3", "8"):
        model.get_submodule(name).conv1.register_forward_hook(
            lambda module, args, output, name=name: None if output.is_meta else calls.append(name)
        )
    grads = []
    after_backward = training._strategies.after_backward
    monkeypatch.setattr(
        training._strategies,
        "after_backward",
        lambda: (
            grads.append([model.get_submodule(n).conv1.weight.grad is None for n in ("3", "8")]),
            after_backward(),
        ),
    )
    metrics = [rank.train_epoch().metrics for _ in range(2)][-1]
    learned = [sum(not none for none in column) for column in zip(*grads, strict=True)]
    evaluations = 2 * -(-60 // 120)  # of each epoch
    assert [calls.count("3"), calls.count("8")] == [count + evaluations for count in learned]
    assert learned[1] < learned[0] < 18  # nine steps an epoch; chances 0.75 and 0.5
    facts, flops = training._model_facts, training._run.flops_by_module((8, 8))
    saved = sum(60 * (18 - count) * sum(flops[name].values()) for name, count in zip(("3", "8"), learned, strict=True))
    assert metrics["train_gflops"] == pytest.approx(1080 * facts.train_gflops - saved / 1e9)
    rank.end()


def test_evaluation_scales_what_a_block_adds_by_its_chance(tmp_path, monkeypatch):
    """relu(x + p·F(x)), though it stands in the weights alone: the net that comes out is the factory's."""
    rank = begun(tmp_path, epochs=1)
    own = {}
    strategies = rank._current._training._strategies
    end = strategies.end_epoch
    model = rank._current.model
    monkeypatch.setattr(
        strategies,
        "end_epoch",
        lambda **of: (own.update({k: v.clone() for k, v in model.state_dict().items()}), end(**of))[1],
    )
    rank.train_epoch()
    weights, changes = rank.weights(), rank.changes()
    rank.end()
    assert changes == [] and set(weights) == set(own)
    net, exported = (little(num_classes=10, in_channels=1, image_size=(8, 8)) for _ in range(2))
    net.load_state_dict(own)
    exported.load_state_dict(weights)
    images_nchw = torch.randn(5, 1, 8, 8)
    expected = images_nchw
    for name, layer in net.eval().named_children():
        if name in ("3", "8"):
            branch = layer.bn2(layer.conv2(F.relu(layer.bn1(layer.conv1(expected)))))
            expected = F.relu(expected + {"3": 0.75, "8": 0.5}[name] * branch)
        else:
            expected = layer(expected)
    assert torch.allclose(exported.eval()(images_nchw), expected, atol=1e-5)
    assert not torch.allclose(net(images_nchw), expected, atol=1e-3)


def test_what_it_cannot_act_on_is_refused(tmp_path):
    on = {"stochastic_depth": True}
    with pytest.raises(TrialError, match="stochastic_depth: the model has no residual block"):
        RankTraining().begin(digits_job(tmp_path, strategies=on))
    with pytest.raises(TrialError, match="stochastic_depth: every choice of blocks would be compiled anew"):
        RankTraining().begin(digits_job(tmp_path, strategies=on, model=MODEL, compile=True))
