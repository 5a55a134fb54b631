"""S3Pool: pooling with stochastic spatial sampling (Zhai et al., 2016, https://arxiv.org/abs/1611.05138)."""

import functools
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.untyped import Untyped


class S3PoolStrategy(Strategy):
    """Keep rows and columns drawn at random where max pooling keeps every second one.

    Zhai et al., "S3Pool: Pooling with Stochastic Spatial Sampling", 2016, arXiv 1611.05138. Every MaxPool2d with a
    stride pools with stride 1. In training, of each strip of `grid` rows as many are kept, in order, as the stride
    leaves, and of the columns likewise: one draw for all images of a step, on all ranks, and all channels. In
    evaluation the average over the stride takes the place of the draw. The authors also put it in the place of a
    residual net's strided convolutions; these stay here, as they decide what the net costs.
    """

    name = "s3pool"
    paper = "Zhai et al., 2016, https://arxiv.org/abs/1611.05138"
    saves = Saves.DATA
    sites = frozenset({Site.POOL})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "grid": Knob(
            allowed=Range(low=2, high=64),
            default=16,
            meaning="rows in a strip of the first pooling layer; half as many in each further one",
        )
    }

    grid: int

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._draws = torch.Generator()  # of the epoch

    def prepare(self, run: TrainingRun) -> None:
        model, count = with_stochastic_pools(run.model, self.grid, max(run.facts.image_size))
        if not count:
            raise StrategyError(
                "s3pool: the model has no MaxPool2d layer with a stride of 2 or more; leave it out of the space"
            )
        run.replace_model(model, {}, by=self.name, change={"grid": self.grid, "side": max(run.facts.image_size)})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return with_stochastic_pools(model, change["grid"], change["side"])[0]

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._draws = run.generator(self.name, epoch)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The generator goes on from its state."""

    def state_dict(self) -> dict[str, Untyped]:
        return {"draws": self._draws.get_state()}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._draws.set_state(state["draws"])

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        for layer in run.model.modules():
            if isinstance(layer, S3Pool2d):
                layer.draw(self._draws)
        return batch


class S3Pool2d(nn.Module):
    """A max pooling layer's stand-in: pools with stride 1, then keeps what `draw` last drew; in evaluation it averages.

    side: rows of the largest map that may come.
    """

    keys: Tensor

    def __init__(self, pool: nn.MaxPool2d, *, grid: int, side: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
        self.ceil_mode = pool.ceil_mode
        self.grid = grid
        # One number a row and a column: of a strip, those with the smallest are kept.
        self.register_buffer("keys", torch.zeros(2, side + 2 * max(self.kernel)), persistent=False)

    def draw(self, generator: torch.Generator) -> None:
        """New rows and columns, from the CPU's generator."""
        self.keys.copy_(torch.rand(self.keys.shape, generator=generator), non_blocking=True)

    def forward(self, images_nchw: Tensor) -> Tensor:
        sizes = images_nchw.shape[2:]
        if self.training:
            return F.max_pool2d(selected(images_nchw, *(self._read(axis, sizes[axis]) for axis in (0, 1))), self.kernel)
        (top, past_bottom), (left, past_right) = ((self.padding[a], self._rows(a, sizes[a])[1]) for a in (0, 1))
        padded = F.pad(images_nchw, (left, past_right, top, past_bottom), value=-torch.inf)
        return F.avg_pool2d(F.max_pool2d(padded, self.kernel, stride=1), self.stride, ceil_mode=True)

    def _read(self, axis: int, size: int) -> Tensor:
        """Rows (axis 0) or columns of the map that the windows of those that are kept read, window by window.

        To pool these alone takes a fraction of what pooling with stride 1 takes, and has the same maxima and gradients.
        A window that reaches past an edge reads the edge's row once more, which it holds anyhow.
        """
        kept = self._kept(axis, self._rows(axis, size)[0])
        within = torch.arange(self.kernel[axis], device=kept.device) - self.padding[axis]
        return (kept[:, None] + within).clamp(0, size - 1).flatten()

    def _rows(self, axis: int, size: int) -> tuple[int, int]:
        """Rows that pooling with stride 1 has, and the padding at the end that gives so many.

        A multiple of the stride where windows that reach past the edge still hold a value, so that strips are whole.
        """
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        span = size + 2 * padding - kernel
        pooled = span // stride + 1
        if self.ceil_mode and span % stride and pooled * stride < size + padding:
            pooled += 1  # a last window that starts on the map, or on the padding before it
        rows = min(stride * pooled, size + padding)
        return rows, rows - 1 + kernel - size - padding

    def _kept(self, axis: int, rows: int) -> Tensor:
        """The rows (axis 0) or columns that are kept, in order: of each strip as many as every stride-th one."""
        find = strips_of if torch.compiler.is_compiling() else kept_strips_of
        strips, first = find(rows, self.grid, self.stride[axis], self.keys.device)
        shuffled = torch.argsort(strips + self.keys[axis, :rows])  # strip by strip, at random within each
        # What is not kept sorts behind all else: how many are kept is known, and no step waits for the device.
        return torch.where(first, shuffled, rows).sort().values[: -(-rows // self.stride[axis])]


def selected(images_nchw: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """These rows and columns of all images, in the images' memory format.

    By one `index_select` over places, which gives the last axes a plain order: so the places stand before the channels
    where the memory has them so.
    """
    n, channels, _, width = images_nchw.shape
    places = (rows[:, None] * width + columns).flatten()
    if images_nchw.is_contiguous(memory_format=torch.channels_last):
        taken = images_nchw.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, places)
        return taken.view(n, len(rows), len(columns), channels).permute(0, 3, 1, 2)
    return images_nchw.flatten(2).index_select(2, places).view(n, channels, len(rows), len(columns))


def strips_of(rows: int, grid: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Each row's strip, and whether its place in the strip is among the first ones: as many as are kept."""
    places = torch.arange(rows, device=device)
    start = places // grid * grid
    end = (start + grid).clamp(max=rows)
    kept = (end + stride - 1) // stride - (start + stride - 1) // stride
    return places // grid, places - start < kept


kept_strips_of = functools.lru_cache(maxsize=64)(strips_of)  # torch.compile warns of a cache, and needs none


def with_stochastic_pools(model: nn.Module, grid: int, side: int) -> tuple[nn.Module, int]:
    """The model with S3Pool2d for every strided max pooling, and how many there were; the grid halves from each on."""
    count = 0
    for name, pool in list(model.named_modules()):
        if type(pool) is nn.MaxPool2d and min(_pair(pool.stride)) > 1 and max(_pair(pool.dilation)) == 1:
            layer = S3Pool2d(pool, grid=max(grid >> count, *_pair(pool.stride)), side=side)
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
            if not name:
                return layer.to(device), 1
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layer.train(pool.training).to(device))
            count += 1
    return model, count


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
