"""Augmentation is per image, and the same by every way."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tune_cnn.training.data.augment import augment_batch, augment_image
from tune_cnn.training.data.order import AUGMENTS, Augmentation, EpochOrder, epoch_requests, largest_shift


def _requests(augment="crop_flip", epoch=2, **changes):
    settings = {"images": 100, "image_size": (16, 24), "augment": augment, "batch_size": 30}
    settings |= {"rank": 0, "ranks": 1, "seed": 5}
    return list(epoch_requests(EpochOrder(**settings | changes), epoch))


def _slowly(image, dy, dx, flip, fill):
    """Pixel by pixel; what lies outside is black, or as far inside of the edge as it lies outside."""
    out = np.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            from_y, from_x = y - dy, (width - 1 - x if flip else x) - dx
            if fill == "mirror":
                from_y = -from_y if from_y < 0 else min(from_y, 2 * (height - 1) - from_y)
                from_x = -from_x if from_x < 0 else min(from_x, 2 * (width - 1) - from_x)
            if 0 <= from_y < height and 0 <= from_x < width:
                out[:, y, x] = image[:, from_y, from_x]
    return out


@pytest.mark.parametrize("fill", ["black", "mirror"])
@pytest.mark.parametrize("augment", AUGMENTS)
def test_every_image_is_shifted_and_mirrored_by_its_own_amount(augment, fill):
    """One gather over the batch, and the way image by image, do what a loop over pixels does."""
    augmentation = _requests(augment, shift_fill=fill, shift=0.3)[0].augmentation
    images = np.random.default_rng(0).integers(1, 256, (30, 2, 16, 24), dtype=np.uint8)
    zeros = np.zeros(30, int)
    dy, dx, flip = (
        zeros if values is None else values for values in (augmentation.dy_n, augmentation.dx_n, augmentation.flip_n)
    )
    expected = np.stack([_slowly(*each, fill) for each in zip(images, dy, dx, flip, strict=True)])
    np.testing.assert_array_equal(augment_batch(torch.from_numpy(images), augmentation).numpy(), expected)
    moved = zip(images, dy.tolist(), dx.tolist(), flip.tolist(), [fill == "mirror"] * 30, strict=True)
    one_by_one = [augment_image(*each) for each in moved]
    np.testing.assert_array_equal(np.stack(one_by_one), expected)
    assert (augment == "none") == np.array_equal(images, expected)


def test_shifts_reach_an_eighth_of_the_side_and_mirrors_come_half_the_time():
    """Over many images all shifts of -2..2 and -3..3 pixels are drawn for 16×24, and both directions."""
    drawn = _requests(images=4000, batch_size=4000)[0].augmentation
    assert set(drawn.dy_n.tolist()) == set(range(-2, 3))
    assert set(drawn.dx_n.tolist()) == set(range(-3, 4))
    assert 0.45 < drawn.flip_n.mean() < 0.55
    assert [largest_shift(side) for side in (4, 8, 28, 32)] == [1, 1, 3, 4]


def test_a_shift_reaches_the_share_that_is_asked_for():
    """A sixteenth of 16×32 are one pixel and two; an image of one pixel may still be shifted, onto itself."""
    drawn = _requests(images=4000, batch_size=4000, image_size=(16, 32), shift=1 / 16)[0].augmentation
    assert set(drawn.dy_n.tolist()) == {-1, 0, 1}
    assert set(drawn.dx_n.tolist()) == set(range(-2, 3))
    assert [largest_shift(side, share) for side, share in [(10, 0.3), (32, 0.0625), (8, 0.01)]] == [3, 2, 1]
    one_pixel = torch.full((3, 1, 1, 1), 7, dtype=torch.uint8)
    shifted = Augmentation(dy_n=np.array([-1, 0, 1]), dx_n=np.array([1, 0, 0]), flip_n=None, mirror_fill=True)
    assert torch.equal(augment_batch(one_pixel, shifted), one_pixel)


def _mirrored(epoch, **changes):
    """By image, whether it is mirrored in that epoch."""
    requests = _requests("flip", epoch, flips="alternating", **changes)
    return {
        int(position): bool(flip)
        for request in requests
        for position, flip in zip(request.positions_n, request.augmentation.flip_n, strict=True)
    }


def test_alternating_flips_mirror_each_image_in_every_second_epoch():
    """A random half in the first epoch, by seed; then each image in turn with its original, in whatever order."""
    epochs = [_mirrored(epoch, images=2000) for epoch in range(5)]
    assert 0.45 < np.mean([*epochs[0].values()]) < 0.55
    for before, after in pairwise(epochs):
        assert before.keys() == after.keys() == set(range(2000))
        assert all(after[image] != before[image] for image in before)
    assert epochs[0] != _mirrored(0, images=2000, seed=6)


def test_alternating_flips_go_with_the_image_over_ranks_padding_and_chosen_orders():
    """What an image has by one rank it has by any number of them, repeated at the end, and in an order of some only."""
    whole = _mirrored(3)
    shares = [_mirrored(3, rank=rank, ranks=3) for rank in range(3)]
    assert all(whole[image] == flip for share in shares for image, flip in share.items())
    settings = {"images": 100, "image_size": (16, 24), "augment": "crop_flip", "batch_size": 30, "rank": 0, "ranks": 1}
    order = EpochOrder(**settings, seed=5, flips="alternating")
    for request in epoch_requests(order, 3, np.array([7, 99, 0, 7, 42])):
        assert request.augmentation.flip_n.tolist() == [whole[image] for image in request.positions_n]
        assert len(request.augmentation.dy_n) == 5


def test_random_flips_leave_the_shifts_of_alternating_ones():
    """A search that compares the two compares nothing else."""
    random, alternating = (_requests(flips=flips)[0].augmentation for flips in ("random", "alternating"))
    assert np.array_equal(random.dy_n, alternating.dy_n) and np.array_equal(random.dx_n, alternating.dx_n)
    assert not np.array_equal(random.flip_n, alternating.flip_n)


def test_an_epoch_repeats_by_seed_and_number():
    """Order and augmentation are drawn from (seed, epoch), and change with either."""

    def drawn(**changes):
        return [(r.positions_n.tolist(), r.augmentation.dx_n.tolist()) for r in _requests(**changes)]

    assert drawn() == drawn()
    assert drawn() != drawn(epoch=3)
    assert drawn() != drawn(seed=6)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_share_every_global_batch_without_overlap(ranks):
    """Step by step, the ranks' shares together are the batch that one rank would see."""
    alone = _requests()
    shares = [_requests(rank=rank, ranks=ranks) for rank in range(ranks)]
    for step, whole in enumerate(alone[:-1]):
        together = np.concatenate([share[step].positions_n for share in shares])
        assert sorted(together) == sorted(whole.positions_n)
    assert {len(share) for share in shares} == {len(alone)}


def test_the_last_batch_is_filled_with_the_epochs_first_images():
    """100 images in batches of 30 leave 10; 3 ranks need 12: the first two come again, with their augmentation."""
    alone = _requests()
    shares = [_requests(rank=rank, ranks=3) for rank in range(3)]
    last = np.stack([share[-1].positions_n for share in shares], axis=1).ravel()
    assert last.tolist() == [*alone[-1].positions_n, *alone[0].positions_n[:2]]
    shifts = np.stack([share[-1].augmentation.dx_n for share in shares], axis=1).ravel()
    assert shifts.tolist() == [*alone[-1].augmentation.dx_n, *alone[0].augmentation.dx_n[:2]]


def test_each_image_comes_once_an_epoch():
    """On one rank nothing is repeated or left out."""
    assert sorted(np.concatenate([r.positions_n for r in _requests()])) == list(range(100))


def test_no_augmentation_leaves_the_batch_untouched():
    """Not even a copy is made."""
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    assert augment_batch(images, Augmentation(dy_n=None, dx_n=None, flip_n=None)) is images
