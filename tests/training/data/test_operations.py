"""Operations on real photographs are torchvision v2's own, and one image's come out alike by every loader."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from tune_cnn.errors import DataError
from tune_cnn.spec import Configuration
from tune_cnn.training.data.augment import augment_batch
from tune_cnn.training.data.operations import colour, policies
from tune_cnn.training.data.operations.drawn import Composed, Settings, check_channels
from tune_cnn.training.data.operations.erasing import erased, erased_boxes
from tune_cnn.training.data.operations.geometry import crop_boxes, resized_crops
from tune_cnn.training.data.order import Augmentation, EpochOrder, epoch_requests

SIDES = (56, 72)
THEIRS = {name.replace("_", "").lower(): name for name in v2.TrivialAugmentWide._AUGMENTATION_SPACE}


@cache
def _photographs() -> torch.Tensor:
    """Four corners each of scikit-learn's two photographs, at a third of their size."""
    whole = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]
    small = [tv.resize(image, [140, 210], antialias=True) for image in whole]
    corners = [(0, 0), (0, 130), (70, 20), (80, 138)]
    height, width = SIDES
    return torch.stack([image[:, y : y + height, x : x + width] for image in small for y, x in corners])


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[int, float]:
    """The largest difference in grey levels, and the mean one."""
    difference = (ours.int() - theirs.int()).abs()
    return int(difference.max()), float(difference.float().mean())


def _composed(augment: str, images: int = 8, **settings: Any) -> Composed:
    return Composed.of(augment, Settings(**settings), seed=1, epoch=2, positions_n=np.arange(images) * 7)


@pytest.mark.parametrize("space", ["wide", "usual"])
@pytest.mark.parametrize("kind", policies.KINDS)
def test_a_policys_operation_is_torchvisions(kind: str, space: str) -> None:
    """At every strength and both ways: at most one grey level apart, and that in one pixel of 16 at most."""
    theirs = (v2.TrivialAugmentWide if space == "wide" else v2.RandAugment)(interpolation=InterpolationMode.BILINEAR)
    name = THEIRS[kind.replace("_", "")]
    tables = policies.wide() if space == "wide" else policies.usual(SIDES)
    their_table, signed = theirs._AUGMENTATION_SPACE[name]
    magnitudes = their_table(31, *SIDES)
    bins_n, sign_n = np.array([0, 4, 9, 14, 19, 23, 27, 30]), np.array([0.1, 0.9] * 4)
    kinds_n = np.full(8, policies.KINDS.index(kind))
    amounts_n = policies.amounts(tables, kinds_n, bins_n, sign_n)
    images = _photographs()
    ours = policies.done(images, kinds_n, amounts_n)
    for at, (number, way) in enumerate(zip(bins_n, (-1, 1) * 4, strict=True)):
        magnitude = 0.0 if magnitudes is None else float(magnitudes[number]) * (way if signed else 1)
        wanted = theirs._apply_image_or_video_transform(
            images[at], name, magnitude, interpolation=theirs.interpolation, fill=theirs._fill
        )
        most, mean = _apart(ours[at], wanted)
        assert most <= 1 and mean < 0.06, (kind, magnitude, most, mean)


def test_crops_are_torchvisions_resized_crops() -> None:
    """Of the same box at most one grey level apart, the image's edges and the box's among it."""
    images = _photographs()
    drawn = _composed("random_resized_crop").uniform("random_resized_crop", 22)
    boxes_n4 = crop_boxes(drawn, SIDES, scale=0.08, ratio=4 / 3)
    ours = resized_crops(images, boxes_n4)
    for image, made, box in zip(images, ours, boxes_n4.tolist(), strict=True):
        wanted = tv.resized_crop(image.float(), *box, list(SIDES), antialias=True).round().to(torch.uint8)
        assert _apart(made, wanted)[0] <= 1
    whole = np.array([[0, 0, *SIDES]] * 8)
    assert torch.equal(resized_crops(images, whole), images)


def test_boxes_follow_scale_and_ratio() -> None:
    """Areas are spread evenly from the lowest share on, sides within the ratio, all of them inside of the image."""
    drawn = np.random.default_rng(0).random((20_000, 22))
    top_n, left_n, height_n, width_n = crop_boxes(drawn, (200, 200), scale=0.25, ratio=2.0).T
    assert top_n.min() >= 0 and left_n.min() >= 0
    assert (top_n + height_n).max() <= 200 and (left_n + width_n).max() <= 200
    share_n = height_n * width_n / 200**2
    assert 0.24 < share_n.min() < 0.26 and share_n.max() <= 1
    ratio_n = width_n / height_n
    assert ratio_n.min() > 0.48 and ratio_n.max() < 2.05
    assert np.median(np.log(ratio_n)) == pytest.approx(0, abs=0.02)
    # Where no attempt fits (an image ten times as wide as high), the middle at the ratio that is allowed.
    assert crop_boxes(drawn[:1], (10, 100), scale=1.0, ratio=2.0).tolist() == [[0, 40, 10, 20]]


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.03, 0.25])
def test_hue_turns_as_torchvisions(shift: float) -> None:
    """At most two grey levels apart: torchvision goes by way of hue, saturation and value."""
    images = _photographs()
    most, mean = _apart(colour.hue(images, torch.full((8,), shift)), tv.adjust_hue(images, shift))
    assert most <= 2 and mean < 0.05


def test_colour_jitter_is_torchvisions_in_each_images_order() -> None:
    """Factors within the strengths, one after another in an order of the image's own."""
    composed = _composed("color_jitter", jitter_hue=0.0)
    ours = policies.color_jitter(_photographs(), composed)
    drawn = composed.uniform("color_jitter", 8)
    acts = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    for image, made, values in zip(_photographs(), ours, drawn, strict=True):
        for number in np.argsort(values[4:]):
            if number < 3:
                image = acts[number](image, 0.6 + 0.8 * values[number])
        assert _apart(made, image)[0] <= 3  # a grey level of one operation is up to 1.4 of the next
    assert len({tuple(np.argsort(values[4:])) for values in drawn}) > 1


def test_erasing_puts_the_mean_colour_into_torchvisions_box() -> None:
    """As v2's erase does, in as many images as asked for; the others stay."""
    images = _photographs()
    boxes_n4 = np.array([[3, 5, 20, 10]] * 7 + [[0, 0, 0, 0]])
    wanted = tv.erase(images, 3, 5, 20, 10, torch.tensor([9, 99, 199], dtype=torch.uint8)[:, None, None])
    ours = erased(images, boxes_n4, (9, 99, 199))
    assert torch.equal(ours[:7], wanted[:7]) and torch.equal(ours[7], images[7])
    found = erased_boxes(np.random.default_rng(0).random((20_000, 23)), (100, 80), 0.25)
    share_n = found[:, 2] * found[:, 3] / 8000
    assert (share_n > 0).mean() == pytest.approx(0.25, abs=0.01)
    assert share_n[share_n > 0].min() > 0.018 and share_n.max() < 0.34
    assert (found[:, :2] + found[:, 2:]).max(axis=0).tolist() <= [100, 80]


ALL = "random_resized_crop+crop_flip+color_jitter+trivial_augment+rand_augment+random_erasing"


def test_an_image_comes_out_alike_in_every_batch() -> None:
    """Alone, as `stream` takes it, and among others: to the bit, and in whatever order."""
    images = _photographs()
    order = EpochOrder(
        images=8, image_size=SIDES, augment=ALL, batch_size=8, rank=0, ranks=1, seed=3,
        settings=Settings(mean_colour=(1, 2, 3), erasing_probability=0.9),
    )  # fmt: skip
    request = next(epoch_requests(order, 1))
    whole = augment_batch(images[torch.from_numpy(request.positions_n)], request.augmentation)
    for at, position in enumerate(request.positions_n):
        alone = augment_batch(images[position : position + 1], request.augmentation[at : at + 1])
        assert torch.equal(alone[0], whole[at])
    backwards = next(epoch_requests(order, 1, request.positions_n[::-1].copy()))
    assert isinstance(backwards.augmentation, Augmentation) and backwards.augmentation.composed is not None
    drawn = backwards.augmentation.composed.uniform("trivial_augment", 3)
    assert request.augmentation.composed is not None
    assert np.array_equal(drawn[::-1], request.augmentation.composed.uniform("trivial_augment", 3))
    later = next(epoch_requests(order, 2)).augmentation.composed
    assert later is not None and not np.array_equal(drawn, later.uniform("trivial_augment", 3))


def test_numbers_are_even_and_each_images_own() -> None:
    """Means, variances and neighbours of 100,000 images' numbers are those of independent even ones."""
    drawn = _composed("rand_augment", images=100_000).uniform("rand_augment", 4)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert drawn.mean(axis=0) == pytest.approx(0.5, abs=0.005)
    assert drawn.var(axis=0) == pytest.approx(1 / 12, abs=0.002)
    beside = np.concatenate([drawn[:-1], drawn[1:]], axis=1)
    assert np.abs(np.corrcoef(beside.T) - np.eye(8)).max() < 0.02


def test_a_policy_wants_three_channels() -> None:
    """One error for each, with what may be taken instead."""
    for augment in ("flip+trivial_augment", "rand_augment", "color_jitter"):
        with pytest.raises(DataError, match="must have three channels, got 1"):
            check_channels(augment, 1)
    check_channels("random_resized_crop+flip+random_erasing", 1)


def test_keys_of_an_operation_mean_something_only_beside_it() -> None:
    """Among others in a joined text, too."""
    params = Configuration(augment="random_resized_crop+flip+rand_augment", crop_scale=0.3).params()
    assert {"crop_scale", "rand_augment_magnitude", "flips"} <= params.keys()
    assert not {"shift", "jitter_hue", "erasing_probability"} & params.keys()
    with pytest.raises(ValueError, match="has no meaning with augment='crop_flip'"):
        Configuration(augment="crop_flip", jitter_hue=0.2)
