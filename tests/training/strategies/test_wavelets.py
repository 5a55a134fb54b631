"""Haar pooling is the two-level transform without the finest details; the stem's bands lose nothing and save time."""

import pytest
import torch
from ranks import digits_job
from torch import Tensor, nn

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.wavelet_pooling import HaarPool2d, with_wavelet_pools
from tune_cnn.training.strategies.wavelet_stem import HaarBands, with_band_stem

HALVES = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5  # Haar's filters: sum and difference


def analysis(map_hw: Tensor) -> dict[str, Tensor]:
    """One level of Haar's transform, by its filters along columns, then rows."""
    rows = map_hw.reshape(map_hw.shape[0], -1, 2) @ HALVES.T  # (h, w/2, sum and difference)
    both = torch.einsum("hwf,gh->gwf", rows, _along_rows(map_hw.shape[0]))
    low, high = both[: map_hw.shape[0] // 2], both[map_hw.shape[0] // 2 :]
    return {"ll": low[..., 0], "rows": high[..., 0], "columns": low[..., 1], "diagonals": high[..., 1]}


def _along_rows(height: int) -> Tensor:
    """(h, h): the sums of pairs of rows, then their differences."""
    sums, differences = torch.zeros(height // 2, height), torch.zeros(height // 2, height)
    for pair in range(height // 2):
        sums[pair, 2 * pair : 2 * pair + 2] = HALVES[0]
        differences[pair, 2 * pair : 2 * pair + 2] = HALVES[1]
    return torch.cat([sums, differences])


def synthesis(bands: dict[str, Tensor]) -> Tensor:
    """Back again."""
    height = 2 * bands["ll"].shape[0]
    low = torch.stack([bands["ll"], bands["columns"]], dim=-1)
    high = torch.stack([bands["rows"], bands["diagonals"]], dim=-1)
    rows = torch.einsum("gwf,gh->hwf", torch.cat([low, high]), _along_rows(height))
    return (rows @ HALVES).reshape(height, -1)


def test_pooling_is_two_levels_without_the_first_levels_details():
    """As the paper has it: transform twice, drop the finest details, transform back once. It is twice the average."""
    map_hw = torch.randn(8, 12)
    first = analysis(map_hw)
    assert torch.allclose(synthesis(first), map_hw, atol=1e-5)  # nothing is lost
    second = analysis(first["ll"])
    pooled = synthesis(second)  # all of the second level, none of the first's details
    assert torch.allclose(HaarPool2d()(map_hw[None, None])[0, 0], pooled, atol=1e-5)
    assert torch.allclose(pooled, 2 * nn.AvgPool2d(2)(map_hw[None, None])[0, 0], atol=1e-5)


def test_only_pooling_that_halves_is_replaced_and_sizes_stay():
    pools = [nn.MaxPool2d(2), nn.MaxPool2d((2, 2), stride=2), nn.MaxPool2d(3, 2), nn.MaxPool2d(2, padding=1)]
    model, count = with_wavelet_pools(nn.Sequential(*pools))
    assert count == 2 and [type(layer) is HaarPool2d for layer in model] == [True, True, False, False]
    odd = torch.randn(1, 2, 7, 9)
    assert HaarPool2d()(odd).shape == nn.MaxPool2d(2)(odd).shape
    assert isinstance(with_wavelet_pools(nn.MaxPool2d(2))[0], HaarPool2d)


def test_bands_are_haars_and_lose_nothing():
    """Each is the transform's; sums of squares stay; an odd last row or column is repeated."""
    images_nchw = torch.randn(2, 3, 8, 6)
    bands = HaarBands()(images_nchw)
    assert bands.shape == (2, 12, 4, 3)
    for image, channel in ((0, 0), (1, 2)):
        expected = analysis(images_nchw[image, channel])
        for at, name in enumerate(("ll", "rows", "columns", "diagonals")):
            assert torch.allclose(bands[image, 4 * channel + at], expected[name], atol=1e-5)
    assert torch.allclose(bands.square().sum(), images_nchw.square().sum(), rtol=1e-5)
    odd = HaarBands()(images_nchw[..., :7, :5])
    repeated = torch.cat([images_nchw[..., :7, :5], images_nchw[..., 6:7, :5]], dim=2)
    assert torch.equal(odd, HaarBands()(torch.cat([repeated, repeated[..., 4:5]], dim=3)))


def test_a_step_on_bands_costs_less_and_a_stride_is_halved_instead(tmp_path):
    """Without a stride all maps are a quarter; with one they stay as large, from smaller kernels."""
    metrics = {}
    for on in ({}, {"wavelet_stem": True}):
        rank = RankTraining()
        rank.begin(digits_job(tmp_path, strategies=on, epochs=1))
        metrics[bool(on)] = rank.train_epoch().metrics
        rank.end()
    assert metrics[True]["train_gflops"] < 0.35 * metrics[False]["train_gflops"]
    strided = nn.Sequential(nn.Conv2d(3, 5, 7, stride=2, padding=3))
    before = strided(torch.randn(1, 3, 16, 16)).shape
    after = with_band_stem(strided, 3)
    assert after(torch.randn(1, 3, 16, 16)).shape == before
    assert after[0][1].in_channels == 12 and after[0][1].kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("name", "told"), [("wavelet_pooling", "no MaxPool2d of 2×2"), ("wavelet_stem", "first layer is no plain Conv2d")]
)
def test_what_they_cannot_act_on_is_refused(tmp_path, name, told):
    with pytest.raises(TrialError, match=f"{name}: .*{told}"):
        RankTraining().begin(digits_job(tmp_path, model=f"{__name__}:linear", strategies={name: True}))


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))
