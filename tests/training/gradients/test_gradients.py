"""Gradients of mini-batches: right by brute force, of a fixed order at fixed parameters, beside the training."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.ranks import Processes, digits_job, same_bits, train
from tune_cnn.errors import TrialError
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.gradients.distances import distances, full_gradient
from tune_cnn.training.gradients.fixed_net import FixedNet
from tune_cnn.training.gradients.measured import CONTROL, Asked, Measured
from tune_cnn.training.gradients.orders import cut
from tune_cnn.training.gradients.rank import GradientRank
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.rank import RankTraining

ALL = Asked(metrics=(CONTROL, "intensity", "edges", "class_entropy", "loss", "prediction_entropy"))


def made_up() -> tuple[Tensor, Tensor, nn.Sequential]:
    torch.manual_seed(3)
    images_nchw, labels_n = torch.randn(22, 3, 6, 6), torch.randint(4, (22,))
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(80, 4)
    )
    return images_nchw, labels_n, net


def by_hand(net: nn.Sequential, images_nchw: Tensor, labels_n: Tensor, batches: list[Any]) -> list[Tensor]:
    """Each mini-batch's gradient as one long vector in float64, by autograd's slowest way."""
    exact = nn.Sequential(*(nn.Identity() if isinstance(one, nn.Dropout) else one for one in net)).double().train()
    found = []
    for batch in batches:
        exact.zero_grad()
        nn.functional.cross_entropy(exact(images_nchw[batch].double()), labels_n[batch]).backward()
        found.append(torch.cat([one.grad.flatten() for one in exact.parameters() if one.grad is not None]))
    return found


def test_distances_are_those_of_brute_force_in_float64() -> None:
    """L2, cosine, lengths and layers, with batch normalisation and a smaller last mini-batch."""
    images_nchw, labels_n, net = made_up()
    batches = cut(np.random.default_rng(0).permutation(22).astype(np.int64), 5)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2]
    fixed = FixedNet(net, label_smoothing=0.0)

    def take(positions_n: Any) -> Batch:
        return Batch(images_nchw[positions_n], labels_n[positions_n])

    full = full_gradient(fixed, batches, take, ProcessGroup())
    apart = distances(fixed, full, batches, take, ProcessGroup())
    each = by_hand(net, images_nchw, labels_n, batches)
    whole = sum(len(batch) / 22 * one for batch, one in zip(batches, each, strict=True))
    assert isinstance(whole, Tensor)
    torch.testing.assert_close(torch.cat([part.flatten() for part in full.parts]), whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(apart.l2_k, [float((one - whole).norm()) for one in each], rtol=1e-4)
    np.testing.assert_allclose(apart.norm_k, [float(one.norm()) for one in each], rtol=1e-4)
    cosines = [1 - float(one @ whole / (one.norm() * whole.norm())) for one in each]
    np.testing.assert_allclose(apart.cosine_k, cosines, rtol=1e-4, atol=1e-5)
    last = slice(-(80 * 4 + 4), None)
    np.testing.assert_allclose(
        apart.layers["5"], [float((one - whole)[last].norm() / whole[last].norm()) for one in each], rtol=1e-4
    )
    assert set(apart.layers) == {"0", "1", "5"}


def test_the_full_gradient_is_the_gradient_of_the_whole_set() -> None:
    """Without batch normalisation the mini-batches' gradients add up to that of one batch of all images."""
    images_nchw, labels_n, net = made_up()
    net = nn.Sequential(*(one for one in net if not isinstance(one, nn.BatchNorm2d | nn.Dropout)))
    batches = cut(np.arange(22), 5)
    fixed = FixedNet(net, label_smoothing=0.0)
    full = full_gradient(fixed, batches, lambda at: Batch(images_nchw[at], labels_n[at]), ProcessGroup())
    whole = by_hand(net, images_nchw, labels_n, [np.arange(22)])[0]
    torch.testing.assert_close(torch.cat([part.flatten() for part in full.parts]), whole, rtol=1e-4, atol=1e-6)
    assert not fixed.joins_images


def test_a_fixed_net_keeps_what_is_measured_from_the_model() -> None:
    """Parameters, running statistics and mode of the model are as they were; dropout draws nothing."""
    images_nchw, labels_n, net = made_up()
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fixed = FixedNet(net, label_smoothing=0.1)
    loss, gradients = fixed.gradient(Batch(images_nchw, labels_n), 0)
    exact = net(images_nchw)  # after a pass in training mode, with the running statistics that the model has
    torch.testing.assert_close(fixed.logits(Batch(images_nchw, labels_n)), exact)
    again, same = fixed.gradient(Batch(images_nchw, labels_n), 1)
    assert loss == again and all(map(torch.equal, gradients, same))
    assert same_bits(before, dict(net.state_dict())) and not net.training


def measured(folder: Path, rank: GradientRank, job: TrainingJob) -> tuple[list[list[Measured]], dict[str, Any]]:
    rank.begin(job)
    found = []
    for epoch in range(job.last_epoch):
        found.append(rank.measure(epoch, ALL))
        rank.train_epoch()
    weights = rank.weights()
    rank.end()
    return found, weights


@pytest.mark.parametrize("model", ["small_cnn", "resnet8"])
def test_measuring_changes_no_bit_of_the_training(tmp_path: Path, model: str) -> None:
    """And the order stays while the parameters of each epoch's beginning are measured anew."""
    job = digits_job(tmp_path, model=model, augment="crop", job={"split_seed": 5})
    epochs, weights = measured(tmp_path, GradientRank(), job)
    assert same_bits(weights, train(RankTraining(), job)[1])
    first, second = ({one.metric: one for one in of} for of in epochs)
    assert list(first) == list(ALL.metrics)
    for metric in ("intensity", "edges", "class_entropy", CONTROL):
        assert first[metric].order == second[metric].order
        assert first[metric].values == second[metric].values
        assert first[metric].l2 != second[metric].l2  # the net has learned meanwhile
    assert first["loss"].order != second["loss"].order  # by the net's own eyes, of each epoch
    assert all(list(first[metric].values)[:-1] == sorted(first[metric].values[:-1]) for metric in first)
    of_one = first["intensity"]
    assert of_one.learning_rate == pytest.approx(0.05) and of_one.images == 540
    assert len(of_one.l2) == 9 and of_one.last_size == 28 and of_one.whole == 8
    assert Measured.of(of_one.as_dict()).metric == "intensity"


def test_measuring_again_gives_the_same(tmp_path: Path) -> None:
    """At fixed parameters: nothing of the first time is left behind."""
    rank = GradientRank()
    rank.begin(digits_job(tmp_path, model="resnet8"))
    once, twice = rank.measure(0, ALL), rank.measure(0, ALL)
    assert once == twice
    sheets = rank.sheets(ALL, {"intensity": [0, 6], "loss": [1]})
    assert [len(of) for of in sheets.values()] == [2, 1] and sheets["intensity"][0].startswith(b"\x89PNG")
    rank.end()


def _measured_here(number: int, address: str, folder: str, ranks: int) -> list[dict[str, Any]]:
    rank = GradientRank(number)
    if ranks > 1:
        rank.join(ranks=ranks, init_method=address, cuda=False)
    rank.begin(digits_job(Path(folder), model="resnet8", job={"ranks": ranks}))
    found = [one.as_dict() for one in rank.measure(0, ALL)]
    rank.train_epoch()
    rank.measure(1, Asked(metrics=("intensity",)))  # after running statistics of ranks have come to differ
    rank.end()
    return found


def test_two_ranks_measure_what_one_does(tmp_path: Path) -> None:
    """They share the mini-batches, so batch normalisation sees the same ones."""
    (alone,) = [_measured_here(0, "", str(tmp_path), 1)]
    processes = Processes(2)
    try:
        first, second = processes.call(_measured_here, processes.address(), str(tmp_path), 2)
    finally:
        processes.end()
    assert first == second
    for one, other in zip(alone, first, strict=True):
        assert one["order"] == other["order"] and one["metric"] == other["metric"]
        np.testing.assert_allclose(one["l2"], other["l2"], rtol=1e-4)
        np.testing.assert_allclose(one["cosine"], other["cosine"], rtol=1e-3, atol=1e-5)


class DividesByZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, images_nchw: Tensor) -> Tensor:
        return torch.sqrt(self.scale).expand(len(images_nchw), 4) * images_nchw.flatten(1)[:, :4]


def test_a_gradient_that_is_not_finite_is_named() -> None:
    """The root of 0 has none: mini-batch, parameter and what to do."""
    images_nchw, labels_n, _ = made_up()
    fixed = FixedNet(DividesByZero(), label_smoothing=0.0)
    with pytest.raises(TrialError, match=r"mini-batch 1 of 5: the gradient of scale is not finite.*root"):
        full_gradient(fixed, cut(np.arange(22), 5), lambda at: Batch(images_nchw[at], labels_n[at]), ProcessGroup())


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            "tests.image_scores_of_a_user:one_for_all",
            "--metric: tests.image_scores_of_a_user:one_for_all must give one",
        ),
        ("math:sqrt", "--metric math:sqrt raised"),
    ],
)
def test_a_metric_that_fails_on_the_images_is_named(tmp_path: Path, metric: str, said: str) -> None:
    rank = GradientRank()
    rank.begin(digits_job(tmp_path))
    with pytest.raises(TrialError, match=said):
        rank.measure(0, Asked(metrics=(metric,)))
    rank.end()


def test_nothing_is_infinite_in_what_is_kept(tmp_path: Path) -> None:
    rank = GradientRank()
    rank.begin(digits_job(tmp_path))
    (found,) = rank.measure(0, Asked(metrics=(CONTROL,)))
    rank.end()
    assert all(math.isfinite(value) for name in ("l2", "cosine", "norm") for value in found.as_dict()[name])
    assert all(len(parts) == 8 for parts in found.layers.values())
