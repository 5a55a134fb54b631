"""A training on classes of unequal size: its weighted loss is torch's, and nobody who shares the work changes it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import Processes, digits_job, kept, left_within, same_bits, train
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.nn import functional as F

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.class_balance import class_weights
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.evaluation import evaluation_loader
from tune_cnn.training.step.losses import training_loss

COUNTS = (150, 90, 45, 21)
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the digits, the last of them rare."""
    root = tmp_path_factory.mktemp("unequal")
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:count] for k, count in enumerate(COUNTS)])
    images = (digits.images[chosen] * 15).astype(np.uint8)
    np.savez(root / "set.npz", images=images, labels=digits.target[chosen])
    return root


@pytest.fixture
def rank() -> Iterator[RankTraining]:
    training = RankTraining()
    yield training
    training.end()


def job_of(folder: Path, *, job: dict[str, Any] | None = None, **settings: Any) -> TrainingJob:
    usual: dict[str, Any] = {"model": f"{__name__}:without_norms", "batch_size": 32, "epochs": 2}
    data = DataSpec(name="npz:set.npz", root=str(folder))
    return replace(digits_job(folder, job=job, **{**usual, **settings}), data=data)


def without_norms(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    kernels = nn.Conv2d(in_channels, 8, 3, padding=1)
    return nn.Sequential(kernels, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("labels", ["classes", "shares"])
def test_the_weighted_cross_entropy_is_torchs_over_the_images(labels: str, smoothing: float) -> None:
    """Of each image, and summed up; divided by the images, where torch divides by their weights."""
    logits, labels_n = torch.randn(9, 4), torch.arange(9) % 4
    given = labels_n if labels == "classes" else 0.3 * F.one_hot(labels_n, 4) + 0.7 * F.one_hot(labels_n.roll(1), 4)
    settings: dict[str, Any] = {"kind": "cross_entropy", "label_smoothing": smoothing, "class_weights_k": WEIGHTS}
    each = training_loss(logits, given, reduction="none", **settings)
    wanted = F.cross_entropy(logits, given, weight=WEIGHTS, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(each, wanted)
    torch.testing.assert_close(training_loss(logits, given, **settings), wanted.sum() / 9)


def test_over_a_whole_split_the_mean_is_torchs_too() -> None:
    """Weights have the mean 1 over it, so that both divide by the same."""
    labels_n = torch.from_numpy(np.repeat(np.arange(4), COUNTS))
    logits = torch.randn(len(labels_n), 4, dtype=torch.float64).float()
    for kind in ("balanced", "effective"):
        weights_k = torch.from_numpy(class_weights(np.array(COUNTS), kind, 0.99)).float()
        ours = training_loss(logits, labels_n, kind="cross_entropy", class_weights_k=weights_k)
        torch.testing.assert_close(ours, F.cross_entropy(logits, labels_n, weight=weights_k))


@pytest.mark.parametrize("labels", ["classes", "shares"])
def test_with_bce_an_image_counts_for_its_classes_weights(labels: str) -> None:
    """Its loss over all classes, as in the paper's own code; of a mixed image the weights blend."""
    logits, labels_n = torch.randn(9, 4), torch.arange(9) % 4
    shares_nk = F.one_hot(labels_n, 4).float()
    if labels == "shares":
        shares_nk = 0.3 * shares_nk + 0.7 * shares_nk.roll(1, 0)
    of_image = (shares_nk * WEIGHTS).sum(1)
    wanted = F.binary_cross_entropy_with_logits(
        logits, 0.9 * shares_nk + 0.025, weight=of_image[:, None].expand(9, 4).contiguous()
    )
    given = labels_n if labels == "classes" else shares_nk
    settings: dict[str, Any] = {"kind": "bce", "label_smoothing": 0.1, "class_weights_k": WEIGHTS}
    torch.testing.assert_close(training_loss(logits, given, **settings), wanted)


def test_the_first_step_learns_from_torchs_weighted_loss(rank: RankTraining, folder: Path) -> None:
    """Its gradient, by the labels of the training split; evaluation weighs nothing."""
    rank.begin(job_of(folder, class_weights="balanced", batch_size=64))
    training = rank._current._training
    batch = next(iter(training._loader.epoch(0)))
    counts = np.bincount(rank._current.context.images.train.labels_n)
    weights_k = torch.from_numpy(counts.sum() / (4 * counts)).float()
    logits = training.model(batch.images_nchw)
    wanted = F.cross_entropy(logits, batch.labels_n, weight=weights_k, reduction="none").mean()
    torch.testing.assert_close(training._train_state.loss_of(logits, batch.labels_n), wanted)
    metrics = rank.train_epoch().metrics
    validation = rank._current.context.images.validation
    model = training.model.eval()
    with torch.no_grad():
        batches = evaluation_loader(rank._current.context, validation)
        answers = [(model(images_nchw), labels_n) for images_nchw, labels_n in batches]
    logits, labels_n = (torch.cat(parts) for parts in zip(*answers, strict=True))
    assert len(labels_n) == len(validation)
    assert metrics["val_loss"] == pytest.approx(F.cross_entropy(logits, labels_n).item(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == labels_n).float().mean().item())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels_n, logits.argmax(1)))
    assert metrics["balanced_accuracy"] != pytest.approx(metrics["accuracy"]), "or the test shows nothing"


WAYS: list[dict[str, Any]] = [
    {"class_weights": "balanced", "label_smoothing": 0.1},
    {"class_weights": "effective", "class_weights_beta": 0.99, "loss": "bce"},
    {"class_sampling": "balanced"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_micro_batches_and_ranks_learn_what_one_rank_does(
    way: dict[str, Any], rank: RankTraining, two_processes: Processes, folder: Path
) -> None:
    """To rounding, whatever classes meet in their shares of a batch; and it is not what equal weights teach."""
    results, weights = train(rank, job_of(folder, **way))
    parts, same = train(rank, job_of(folder, accumulate=4, **way))
    job = job_of(folder, job={"ranks": 2}, **way)
    first, _ = two_processes.call(_one_of_two, two_processes.address(), job, timeout_s=400.0)
    loss, others = first
    _, plain = train(rank, job_of(folder, **{key: way[key] for key in way if not key.startswith("class_")}))
    for name, value in weights.items():
        torch.testing.assert_close(same[name], value, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(torch.from_numpy(others[name]), value, atol=1e-4, rtol=1e-3)
        assert not torch.allclose(plain[name], value, atol=1e-4), name
    assert parts[-1].metrics["train_loss"] == pytest.approx(results[-1].metrics["train_loss"], rel=1e-4)
    assert loss == pytest.approx(results[-1].metrics["train_loss"], rel=1e-3)


def _one_of_two(number: int, address: str, job: TrainingJob) -> tuple[float, dict[str, Any]]:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    results, weights = train(rank, job)
    rank.join(ranks=1, init_method="", cuda=False)
    return results[-1].metrics["train_loss"], {name: value.numpy() for name, value in weights.items()}


def test_every_loader_and_a_resumed_epoch_draw_the_same_balanced_images(
    rank: RankTraining, folder: Path, tmp_path: Path
) -> None:
    """With the same augmentation, drawn anew for an image that comes again; left after every step."""
    settings = {"class_sampling": "balanced", "augment": "crop_flip+random_erasing"}
    job = job_of(folder, **settings)
    results, weights = train(rank, job)
    for loader in ("batched", "stream"):
        _, loaded = train(rank, job_of(folder, loader=loader, **settings))
        assert same_bits(loaded, weights), loader
    resumed, same, left = left_within(replace(job, **kept(tmp_path)))
    assert same_bits(same, weights) and left >= 2
    assert [one.metrics["balanced_accuracy"] for one in resumed] == [
        one.metrics["balanced_accuracy"] for one in results
    ]


def test_a_balanced_epoch_is_as_long_as_any_and_has_each_class_alike(rank: RankTraining, folder: Path) -> None:
    """What the loader really delivers."""
    rank.begin(job_of(folder, class_sampling="balanced"))
    seen: list[torch.Tensor] = []
    training = rank._current._training
    batches = training._loader.epoch
    training._loader.epoch = lambda *args, **more: _noted(batches(*args, **more), seen)
    rank.train_epoch()
    counts = torch.bincount(torch.cat(seen))
    images = len(rank._current.context.images.train)
    assert counts.sum() == images and counts.max() - counts.min() <= 1


def _noted(batches: Any, seen: list[torch.Tensor]) -> Any:
    class Noted:
        waited_s = 0.0

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            batch = next(batches)
            seen.append(batch.labels_n)
            return batch

    return Noted()


def test_mixed_images_are_weighed_and_info_batch_sees_what_is_learned_from(rank: RankTraining, folder: Path) -> None:
    """A training ends well with each of them beside the weights."""
    for beside in (
        {"mixup": 0.3, "cutmix": 1.0},
        {"strategies": {"info_batch": True}, "epochs": 4},
        {"strategies": {"isgd": True, "isgd.sigmas": 0.0}, "epochs": 3},
    ):
        results, weights = train(rank, job_of(folder, class_weights="balanced", **beside))
        _, plain = train(rank, job_of(folder, **beside))
        assert results[-1].done and not same_bits(weights, plain)
