"""Weights of classes are scikit-learn's and the paper's; a balanced epoch shows each class equally often."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import WeightedRandomSampler

from tune_cnn.training.data.class_balance import balanced_order, class_weights
from tune_cnn.training.data.operations.drawn import Settings
from tune_cnn.training.data.order import EpochOrder, epoch_requests, joined, told_apart

COUNTS = np.array([700, 40, 3, 57])
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(4), COUNTS))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """n/(k·n_c)."""
    wanted = compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    np.testing.assert_allclose(class_weights(COUNTS, "balanced", 0.5), wanted)


@pytest.mark.parametrize("beta", [0.9, 0.999])
def test_effective_weights_are_in_the_papers_proportion(beta: float) -> None:
    """To the inverse of the effective number of images, which is a sum of powers; the mean over the images is 1."""
    effective = [sum(beta**power for power in range(count)) for count in COUNTS]
    weights = class_weights(COUNTS, "effective", beta)
    np.testing.assert_allclose(weights * effective, weights[0] * effective[0])
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)


def test_effective_weights_lie_between_none_and_balanced() -> None:
    """β = 0 weighs all alike; β near 1 is balanced."""
    np.testing.assert_allclose(class_weights(COUNTS, "effective", 0.0), 1)
    near = class_weights(COUNTS, "effective", 1 - 1e-7)
    np.testing.assert_allclose(near, class_weights(COUNTS, "balanced", 0.0), rtol=1e-3)


def test_a_balanced_epoch_has_each_class_and_each_of_its_images_equally_often() -> None:
    """But for one; it is as long as any, the same for the same seed and epoch, and another in the next."""
    order = balanced_order(LABELS, 1, 0)
    assert len(order) == len(LABELS)
    assert np.bincount(LABELS[order]).tolist() == [200] * 4
    times = np.bincount(order, minlength=len(LABELS))
    for label, count in enumerate(COUNTS):
        of_class = times[label == LABELS]
        assert of_class.min() >= 200 // count and of_class.max() <= -(-200 // count)
    assert np.array_equal(order, balanced_order(LABELS, 1, 0))
    for seed, epoch in ((1, 1), (2, 0)):
        assert not np.array_equal(order, balanced_order(LABELS, seed, epoch))
    first = LABELS[order[: len(order) // 4]]
    assert np.bincount(first).min() > 30, "classes are mixed over the epoch, about 50 of each in its first quarter"


def test_what_does_not_divide_goes_to_other_classes_in_each_epoch() -> None:
    """7 images of 3 classes: one of them is there three times, and over many epochs each of them is."""
    labels_n = np.array([0, 0, 0, 0, 0, 1, 2])
    counts = np.array([np.bincount(labels_n[balanced_order(labels_n, 0, epoch)]) for epoch in range(60)])
    assert (np.sort(counts) == [2, 2, 3]).all()
    assert ((counts == 3).sum(0) > 5).all()


def test_images_are_as_probable_as_with_torchs_sampler() -> None:
    """Over 200 epochs, to four of the deviations that torch's own draws have."""
    epochs = 200
    ours = sum(np.bincount(balanced_order(LABELS, 0, epoch), minlength=len(LABELS)) for epoch in range(epochs))
    weights = 1 / COUNTS[LABELS]
    torchs = WeightedRandomSampler(weights.tolist(), epochs * len(LABELS), generator=torch.Generator().manual_seed(0))
    theirs = np.bincount(list(torchs), minlength=len(LABELS))
    for label in range(4):
        deviation = np.sqrt(theirs[label == LABELS].mean())
        assert np.abs(ours[label == LABELS] - theirs[label == LABELS].mean()).max() < 4 * deviation


def test_an_image_that_comes_again_is_drawn_anew() -> None:
    """Each time with another augmentation, on whatever rank; one that comes once keeps its own."""
    positions_n = np.array([3, 1, 3, 0, 3, 1])
    assert told_apart(positions_n, 5).tolist() == [3, 1, 8, 0, 13, 6]
    settings = Settings()
    order = EpochOrder(
        images=5, image_size=(8, 8), augment="trivial_augment", batch_size=6, rank=0, ranks=1, seed=0, settings=settings
    )
    whole, _ = joined(list(epoch_requests(order, 0, positions_n)))
    assert whole.positions_n.tolist() == positions_n.tolist()
    assert whole.augmentation.composed is not None
    drawn = whole.augmentation.composed.uniform("trivial_augment", 1)[:, 0]
    assert len(np.unique(drawn)) == 6
    once, _ = joined(list(epoch_requests(order, 0, np.array([3, 1]))))
    assert once.augmentation.composed is not None
    assert (once.augmentation.composed.uniform("trivial_augment", 1)[:, 0] == drawn[:2]).all()
