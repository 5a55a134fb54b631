"""Which images are held out."""

import numpy as np
import pytest

from tune_cnn.errors import DataError
from tune_cnn.training.data.split import stratified_split, stratified_subset
from tune_cnn.training.data.statistics import channel_sums

LABELS = np.repeat(np.arange(3), [100, 50, 10])


def test_a_split_holds_out_the_share_of_every_class():
    """10 % of classes of 100, 50 and 10 images are 10, 5 and 1; no image is on both sides, none is lost."""
    kept, held = stratified_split(LABELS, 0.1, 7)
    assert np.bincount(LABELS[held]).tolist() == [10, 5, 1]
    assert sorted([*kept, *held]) == list(range(160))


def test_a_split_depends_on_its_seed_alone():
    """Same seed, same images; another seed, others."""
    first, again, other = (stratified_split(LABELS, 0.1, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_split_that_leaves_a_class_without_an_image_is_refused():
    """A class of one image can't stand on both sides."""
    with pytest.raises(DataError, match=r"data.validation: .*class 'rare' has one image left; add images of it, or re"):
        stratified_split(np.array([0] * 20 + [1]), 0.1, 0, classes=("usual", "rare"))


@pytest.mark.parametrize("images", [2, 3, 5, 20])
def test_a_share_that_takes_all_of_a_class_is_told_below_what_it_does_not(images):
    """The advice is followed: just below that share one image stays."""
    labels_n = np.array([0] * 400 + [1] * images)
    with pytest.raises(DataError, match=r"set data\.test below") as refused:
        stratified_split(labels_n, 0.99, 0, what="test")
    below = float(str(refused.value).rpartition(" ")[2])
    kept, _ = stratified_split(labels_n, below - 0.01, 0, what="test")
    assert np.sum(labels_n[kept] == 1) == 1


def test_a_subset_is_exact_and_keeps_the_shares():
    """16 of 160 images: 10, 5 and 1."""
    drawn = stratified_subset(LABELS, 16, 0)
    assert np.bincount(LABELS[drawn]).tolist() == [10, 5, 1]
    assert len(stratified_subset(LABELS, 37, 0)) == 37


@pytest.mark.parametrize(("size", "word"), [(161, "there are 160"), (3, "class 2 without one")])
def test_a_subset_that_cannot_be_drawn_is_refused(size, word):
    """More images than there are, or too few for every class."""
    with pytest.raises(DataError, match=word):
        stratified_subset(LABELS, size, 0)


def test_channel_statistics_are_those_of_numpy():
    """Per channel, of pixels in [0, 1]; a constant channel divides by one."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 5, 4), dtype=np.uint8)
    images[:, 2] = 9
    mean, std = (channel_sums(images[:20]) + channel_sums(images[20:])).mean_std()
    np.testing.assert_allclose(mean, images.mean((0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std[:2], images.std((0, 2, 3))[:2] / 255, rtol=1e-12)
    assert std[2] == 1.0
