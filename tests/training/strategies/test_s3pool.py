"""S3Pool against a slow reference: what is kept is in order and shared by images and channels."""

import itertools
import math

import pytest
import torch
from brisk import job_with
from torch import nn

from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.s3pool import S3Pool2d, with_stochastic_pools

SHAPES = [
    # kernel, stride, padding, ceil_mode
    (2, 2, 0, False),
    (3, 2, 1, False),
    (3, 2, 0, True),
    (3, 3, 1, False),
    (2, 2, 1, True),
    (1, 2, 0, False),
]


def stochastic(pool: nn.MaxPool2d, *, grid: int = 4, seed: int = 0) -> S3Pool2d:
    layer = S3Pool2d(pool, grid=grid, side=32)
    layer.draw(torch.Generator().manual_seed(seed))
    return layer


def dense_reference(image: list[list[float]], kernel: int, padding: int, rows: int, columns: int) -> list[list[float]]:
    """Max pooling with stride 1 by hand: windows that start before the map or reach past it hold what they hold."""
    height, width = len(image), len(image[0])
    return [
        [
            max(
                image[r][c]
                for r in range(max(0, row - padding), min(height, row - padding + kernel))
                for c in range(max(0, column - padding), min(width, column - padding + kernel))
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]


def rows_of(size: int, pooled: int, stride: int, padding: int) -> int:
    """Rows of the dense map: whole strides, as long as a window still touches the map."""
    return min(pooled * stride, size + padding)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), SHAPES)
@pytest.mark.parametrize("size", [6, 7, 9])
def test_what_is_kept_is_of_the_dense_map_in_order_and_strip_by_strip(kernel, stride, padding, ceil_mode, size):
    """Against loops over a map whose values tell their place; as many rows as plain pooling leaves."""
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    image = torch.randperm(size * size).view(1, 1, size, size).float()
    pooled = pool(image).shape[-1]
    rows = rows_of(size, pooled, stride, padding)
    dense = dense_reference(image[0, 0].tolist(), kernel, padding, rows, rows)
    grid = 4
    for seed in range(3):
        got = stochastic(pool, grid=grid, seed=seed)(image)[0, 0]
        assert got.shape == (pooled, pooled)
        ways = [list(way) for way in _choices(rows, grid, stride)]
        found, both = got.tolist(), itertools.product(ways, ways)
        assert any([[dense[r][c] for c in across] for r in kept] == found for kept, across in both)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), SHAPES)
def test_gradients_are_those_of_the_dense_map(kernel, stride, padding, ceil_mode, memory_format):
    """Of pooling with stride 1 and keeping the same rows and columns; the memory format stays.

    With equal values in most windows, as after a ReLU: of these the first takes the gradient.
    """
    layer = stochastic(nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode))
    images = torch.randint(3, (2, 3, 9, 7)).float().to(memory_format=memory_format)
    sizes = [layer._rows(axis, images.shape[axis + 2]) for axis in (0, 1)]
    rows, columns = (layer._kept(axis, sizes[axis][0]) for axis in (0, 1))
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    padded = nn.functional.pad(theirs, (padding, sizes[1][1], padding, sizes[0][1]), value=-torch.inf)
    expected = nn.functional.max_pool2d(padded, kernel, stride=1)[:, :, rows][:, :, :, columns]
    got = layer(ours)
    weights = torch.randint(1, 9, got.shape).float()  # whole numbers add up without rounding
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(got, expected) and torch.equal(ours.grad, theirs.grad)
    assert got.is_contiguous(memory_format=memory_format) and ours.grad.is_contiguous(memory_format=memory_format)


def _choices(rows: int, grid: int, stride: int) -> list[list[int]]:
    """Every way to keep, of each strip, as many rows in order as every stride-th one would be."""
    strips = [range(start, min(start + grid, rows)) for start in range(0, rows, grid)]
    counts = [sum(row % stride == 0 for row in strip) for strip in strips]
    kept = [itertools.combinations(strip, count) for strip, count in zip(strips, counts, strict=True)]
    return [list(itertools.chain(*one)) for one in itertools.product(*kept)]


def test_one_draw_serves_all_images_and_channels():
    """The rows that one image keeps in one channel are those of every other."""
    layer = stochastic(nn.MaxPool2d(2))
    image = torch.arange(64.0).view(1, 1, 8, 8)
    batch = torch.cat([image.repeat(1, 3, 1, 1), image.repeat(1, 3, 1, 1) + 100])
    kept = layer(batch)
    assert torch.equal(kept[0, 0], kept[0, 2])
    assert torch.equal(kept[1] - 100, kept[0])


def test_every_choice_of_a_strip_comes_equally_often():
    """Without replacement: of four rows two, six ways, over many draws."""
    layer = S3Pool2d(nn.MaxPool2d(2), grid=4, side=8)
    image = torch.arange(4.0).view(1, 1, 4, 1).expand(1, 1, 4, 4).contiguous()
    generator = torch.Generator().manual_seed(1)
    seen: dict[tuple[int, ...], int] = {}
    draws = 1200
    for _ in range(draws):
        layer.draw(generator)
        rows = tuple(layer._kept(0, 4).tolist())
        seen[rows] = seen.get(rows, 0) + 1
    assert layer(image).shape == (1, 1, 2, 2)
    assert set(seen) == set(itertools.combinations(range(4), 2))
    expected = draws / 6
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in seen.values())


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), SHAPES)
def test_at_test_time_it_is_the_average_over_the_stride_of_the_dense_map(kernel, stride, padding, ceil_mode):
    """Nothing is drawn: the mean of what could have been kept in a strip as long as the stride."""
    size = 13
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    image = torch.randn(1, 1, size, size)
    pooled = pool(image).shape[-1]
    rows = rows_of(size, pooled, stride, padding)
    dense = torch.tensor(dense_reference(image[0, 0].tolist(), kernel, padding, rows, rows))
    got = stochastic(pool).eval()(image)[0, 0]
    assert got.shape == (pooled, pooled)
    for i, j in itertools.product(range(pooled), repeat=2):
        window = dense[i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        assert float(got[i, j]) == pytest.approx(float(window.mean()), abs=1e-5)


def test_the_grid_halves_from_pool_to_pool_and_other_layers_stay():
    """16 then 8, as published; never less than the stride, and pools that don't shrink the map stay max pools."""
    model = nn.Sequential(
        nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(2, dilation=2)
    )
    changed, count = with_stochastic_pools(model, 16, 64)
    assert count == 2
    assert [type(layer) for layer in changed] == [S3Pool2d, nn.MaxPool2d, S3Pool2d, nn.AvgPool2d, nn.MaxPool2d]
    assert (changed[0].grid, changed[2].grid) == (16, 8)


def test_each_step_and_each_epoch_draws_anew(tmp_path):
    """By seed and epoch alone, so that a resumed training draws what an uninterrupted one draws."""
    rank = RankTraining()
    drawn = []
    for _ in range(2):
        rank.begin(job_with(tmp_path, "s3pool"))
        pool = next(m for m in rank._current.model.modules() if isinstance(m, S3Pool2d))
        keys = []
        for _ in range(2):
            rank.train_epoch()
            keys.append(pool.keys.clone())
        drawn.append(keys)
        rank.end()
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
