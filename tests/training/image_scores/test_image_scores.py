"""Each metric of images against a direct computation, on patches of real photographs."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import feature
from skimage.color import rgb2gray
from sklearn.datasets import load_sample_images

from tune_cnn.errors import ModelError, TrialError
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.image_scores.canny import canny, edges
from tune_cnn.training.image_scores.perceptual import backbone, distances, features
from tune_cnn.training.image_scores.pixels import hsv, intensity, mean_colour
from tune_cnn.training.image_scores.ranking import find_metric, mean_image, ranked

SIDE = 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def patches_nchw() -> torch.Tensor:
    """60 patches of 32×32 from scikit-learn's two photographs, in colour."""
    random = np.random.default_rng(3)
    photographs = load_sample_images().images
    found = []
    for _ in range(60):
        photograph = photographs[int(random.integers(len(photographs)))]
        top, left = (int(random.integers(side - SIDE)) for side in photograph.shape[:2])
        found.append(photograph[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found).copy())


@pytest.fixture
def split(patches_nchw: torch.Tensor, tmp_path: Path) -> ImageSet:
    path = tmp_path / "images.npy"
    np.save(path, patches_nchw.numpy())
    rows = np.arange(len(patches_nchw), dtype=np.int64)
    images = np.load(path, mmap_mode="c")
    labels_n = np.zeros(len(rows), dtype=np.int64)
    return ImageSet(name="train", indices=rows, labels_n=labels_n, images=images, path=path, reader=None, rows=rows)  # type: ignore[arg-type]  # the cache holds all


def test_intensity_is_the_sum_of_all_pixel_values(patches_nchw: torch.Tensor) -> None:
    sums = [sum(int(value) for value in patch.numpy().ravel()) for patch in patches_nchw[:5]]
    assert intensity(patches_nchw)[:5, 0].tolist() == sums


def test_the_mean_colour_is_what_colorsys_makes_of_the_mean_pixel(patches_nchw: torch.Tensor) -> None:
    """Hue, saturation and value, with the standard library as the second implementation."""
    for patch, found in zip(patches_nchw, mean_colour(patches_nchw), strict=True):
        red, green, blue = patch.numpy().reshape(3, -1).mean(axis=1) / 255
        assert found.tolist() == pytest.approx(colorsys.rgb_to_hsv(red, green, blue), abs=1e-9)


def test_colours_without_a_hue_and_pure_colours_have_the_values_of_colorsys() -> None:
    """Grey and black have no hue; on each pure colour another branch of the wheel is taken."""
    colours = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)]
    found = hsv(torch.tensor(colours, dtype=torch.float64))
    assert found.tolist() == [pytest.approx(colorsys.rgb_to_hsv(*colour)) for colour in colours]


def test_edges_are_those_of_scikit_image(patches_nchw: torch.Tensor) -> None:
    """The whole map, pixel by pixel, and their number."""
    counts = edges(patches_nchw)[:, 0].tolist()
    assert max(counts) > 20, "patches without an edge would prove nothing"
    for patch, count in zip(patches_nchw, counts, strict=True):
        brightness = rgb2gray(patch.numpy().transpose(1, 2, 0))
        theirs = feature.canny(brightness)
        ours = canny(torch.from_numpy(brightness)[None])[0].numpy()
        assert np.array_equal(ours, theirs)
        assert abs(count - theirs.sum()) <= 1  # their luma is rounded elsewhere


def test_edges_of_grey_and_flat_images() -> None:
    """A bright square on black has edges, a flat image has none."""
    images = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    images[0, :, 4:12, 4:12] = 255
    found = edges(images)[:, 0].tolist()
    assert found == [float(feature.canny(images[0, 0].numpy() / 255).sum()), 0.0]
    assert found[0] > 0


def test_the_perceptual_distance_is_the_one_written_out(patches_nchw: torch.Tensor) -> None:
    """Unit features by channel, squared differences, mean over places, sum over layers: loop by loop."""
    network = backbone("alexnet", pretrained=False)
    images, to = patches_nchw[:2], patches_nchw[2].to(torch.float32)
    found = distances(network, images, to)[:, 0].tolist()
    with torch.inference_mode():
        layers, of_one = features(network, images), features(network, to[None])
    assert len(layers) == 3  # 15, 7 and 3 pixels a side
    for number in range(2):
        total = 0.0
        for layer, other in zip(layers, of_one, strict=True):
            height, width = layer.shape[2:]
            for row in range(height):
                for column in range(width):
                    one, two = layer[number, :, row, column].double(), other[0, :, row, column].double()
                    difference = one / (one.norm() + 1e-10) - two / (two.norm() + 1e-10)
                    total += float(difference.square().sum()) / (height * width)
        assert found[number] == pytest.approx(total, rel=1e-4)


def test_an_image_has_no_distance_to_itself_and_grey_images_are_taken() -> None:
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = distances(backbone("squeezenet1_1", pretrained=False), images, images[0].float())[:, 0].tolist()
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert found[1] > 1e-3


def test_a_random_backbone_is_the_same_each_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    first = backbone("squeezenet1_1", pretrained=False).state_dict()
    after = torch.rand(1)
    second = backbone("squeezenet1_1", pretrained=False).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_weights_that_cannot_be_had_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no file: the message names the place where the file would be looked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    with pytest.raises(ModelError, match="could not be downloaded"):
        backbone("alexnet", pretrained=True)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_images_are_ranked_from_least_to_greatest_by_the_first_column_first(split: ImageSet) -> None:
    values = torch.tensor([[1.0, 5.0], [0.0, 9.0], [1.0, 4.0]] + [[2.0, float(n)] for n in range(57)])
    starts = iter([0])

    def metric(images_nchw: torch.Tensor) -> torch.Tensor:
        start = next(starts)
        return values[start : start + len(images_nchw)]

    assert ranked(split, metric, CPU, 1)[:4].tolist() == [1, 2, 0, 3]


def test_the_mean_image_is_the_mean_of_all(split: ImageSet, patches_nchw: torch.Tensor) -> None:
    assert torch.allclose(mean_image(split, CPU, 1), patches_nchw.double().mean(0).float())


def test_a_metric_of_the_users_is_called_with_uint8_images_and_must_give_a_number_each(split: ImageSet) -> None:
    own = find_metric("image_scores_of_a_user:darkness", split, CPU, 1, network="alexnet", pretrained=False)
    brightest_last = ranked(split, find_metric("intensity", split, CPU, 1, network="", pretrained=False), CPU, 1)
    assert ranked(split, own, CPU, 1).tolist() == brightest_last[::-1].tolist()
    wrong = find_metric("image_scores_of_a_user:one_for_all", split, CPU, 1, network="alexnet", pretrained=False)
    with pytest.raises(TrialError, match="one number an image"):
        ranked(split, wrong, CPU, 1)
