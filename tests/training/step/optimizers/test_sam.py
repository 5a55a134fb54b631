"""Sharpness-aware steps: by the paper's algorithm on a net small enough to reckon."""

import torch
from ranks import digits_job, train
from torch import nn
from torch.nn import functional as F

from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.optimizers.sam import sharpened


def test_a_step_is_algorithm_1s(tmp_path):
    """w − η·∇L(w + ρ·g/‖g‖), in float64 beside ours, over steps of a whole training without momentum."""
    settings = {"optimizer": "sam", "sam_rho": 0.5, "momentum": 0.0, "weight_decay": 0.0, "schedule": "step"}
    job = digits_job(tmp_path, model=f"{__name__}:linear", epochs=1, batch_size=120, learning_rate=0.3, **settings)
    rank = RankTraining()
    rank.begin(job)
    training = rank._current._training
    batches = [(b.images_nchw.double(), b.labels_n) for b in training._loader.epoch(0, None)]
    weight, bias = (p.detach().double().clone().requires_grad_() for p in training.model.parameters())

    def loss(w, b, batch):
        return F.cross_entropy(batch[0].flatten(1) @ w.T + b, batch[1])

    for number, batch in enumerate(batches):
        rate = 0.3 * (0.1 ** ((2 * number >= len(batches)) + (4 * number >= 3 * len(batches))))
        slopes = torch.autograd.grad(loss(weight, bias, batch), (weight, bias))
        norm = sum(g.square().sum() for g in slopes).sqrt()
        climbed = [(v + 0.5 * g / norm).detach().requires_grad_() for v, g in zip((weight, bias), slopes, strict=True)]
        steps = torch.autograd.grad(loss(*climbed, batch), climbed)
        weight, bias = ((v - rate * g).detach().requires_grad_() for v, g in zip((weight, bias), steps, strict=True))
    rank.train_epoch()
    found = [p.double() for p in rank.weights().values()]
    rank.end()
    assert torch.allclose(found[0], weight, atol=1e-5) and torch.allclose(found[1], bias, atol=1e-5)


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def test_weights_come_back_to_the_bit_and_statistics_follow_the_first_pass_alone():
    """Where loss scaling made a gradient infinite the weights don't even leave."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for bad in (False, True):
        model(torch.randn(4, 1, 6, 6)).square().mean().backward()
        if bad:
            model[0].weight.grad[0, 0, 0, 0] = torch.inf
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with sharpened(model, optimizer, rho=0.1):
            moved = not torch.equal(model[0].weight, before["0.weight"])
            model(torch.randn(4, 1, 6, 6))
        assert moved is not bad
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(torch.randn(4, 1, 6, 6))
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


def test_its_arithmetic_is_counted_twice(tmp_path):
    """Each batch goes forward and back two times."""
    of = {name: train(RankTraining(), digits_job(tmp_path, optimizer=name, epochs=1))[0] for name in ("sgd", "sam")}
    assert of["sam"][0].metrics["train_gflops"] == 2 * of["sgd"][0].metrics["train_gflops"]
