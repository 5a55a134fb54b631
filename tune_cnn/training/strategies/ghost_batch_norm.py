"""Ghost batch normalisation (Hoffer, Hubara & Soudry, 2017, https://arxiv.org/abs/1705.08741)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun

SIZE = "strategies.ghost_batch_norm.size"


class GhostBatchNormStrategy(Strategy):
    """Normalise a large batch in parts, by the statistics of each part.

    Hoffer, Hubara & Soudry, "Train longer, generalize better: closing the generalization gap in large batch training of
    neural networks", 2017, arXiv 1705.08741. Running statistics move on once a part, as a small batch would move them,
    and evaluation uses them as always. A rank's batch is cut into equal parts of at least `size` images; an epoch's
    last, smaller batch is one part where it has fewer. The authors clip gradients beside it: `gradient_clip` does.
    """

    name = "ghost_batch_norm"
    paper = "Hoffer, Hubara & Soudry, 2017, https://arxiv.org/abs/1705.08741"
    saves = Saves.DATA
    sites = frozenset({Site.NORM})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "size": Knob(
            allowed=Range(low=2, high=4096),
            default=128,
            meaning="images of a ghost batch; a rank's batch is two or more",
        )
    }

    size: int

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        batch = spec.dimension("batch_size").smallest // spec.resources.ranks
        size = spec.dimension(SIZE).largest
        if batch < 2 * size:
            raise SpecError(
                f"space.{SIZE}: a ghost batch must be at most half of a rank's smallest batch of {batch} images, got "
                f"{size}; lower it, or search larger batches"
            )

    def prepare(self, run: TrainingRun) -> None:
        batch = run.batch_size // run.group.ranks
        if batch < 2 * self.size:
            raise StrategyError(
                f"ghost_batch_norm: size={self.size} must be at most half of a rank's batch of {batch} images: "
                "else there is one part and nothing changes"
            )
        if not with_ghosts(run.model, self.size):
            raise StrategyError("ghost_batch_norm: the model has no batch normalisation; leave it out of the space")

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        with_ghosts(run.model, self.size)  # layers that another strategy has added meanwhile

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        self.start_epoch(run, epoch)


class Ghost(_BatchNorm):
    """Batch normalisation of equal parts of at least `size` images; names and values are those of the plain layer."""

    size: int

    def forward(self, input: Tensor) -> Tensor:
        parts = max(1, len(input) // self.size)
        if not self.training or parts == 1:
            return super().forward(input)
        # Not `tensor_split`: its backward fills a gradient of the whole batch for each part, and adds them all up.
        ghosts = input.split(equal_sizes(len(input), parts))
        if self.momentum is None:  # a plain mean over all parts so far: each moves it by a share of its own
            return torch.cat([super(Ghost, self).forward(ghost) for ghost in ghosts])
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(parts)
        return torch.cat([self._normalised(ghost, self.momentum) for ghost in ghosts])

    def _normalised(self, ghost: Tensor, momentum: float) -> Tensor:
        """What the plain layer's `forward` gives, without its checks, which take time in a small net."""
        return torch.batch_norm(
            ghost,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training=True,
            momentum=momentum,
            eps=self.eps,
            cudnn_enabled=torch.backends.cudnn.enabled,
        )


class GhostBatchNorm1d(Ghost, nn.BatchNorm1d):
    """Ghost batches of vectors."""


class GhostBatchNorm2d(Ghost, nn.BatchNorm2d):
    """Ghost batches of images."""


def equal_sizes(images: int, parts: int) -> list[int]:
    """Images of each part; the first ones have one more where they don't divide."""
    least, more = divmod(images, parts)
    return [least + (part < more) for part in range(parts)]


GHOSTS: dict[type[nn.Module], type[Ghost]] = {nn.BatchNorm1d: GhostBatchNorm1d, nn.BatchNorm2d: GhostBatchNorm2d}


def with_ghosts(model: nn.Module, size: int) -> int:
    """Put ghost layers, with the same parameters and buffers, in the place of plain ones; how many there are then."""
    for name, norm in list(model.named_modules()):
        if name and type(norm) in GHOSTS:
            assert isinstance(norm, _BatchNorm)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, as_ghost(norm, size))
    return sum(isinstance(module, Ghost) for module in model.modules())


def as_ghost(norm: _BatchNorm, size: int) -> Ghost:
    ghost = GHOSTS[type(norm)](
        norm.num_features,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
        device="meta",
    )
    for name, parameter in norm.named_parameters():
        ghost.register_parameter(name, parameter)
    for name, buffer in norm.named_buffers():
        ghost.register_buffer(name, buffer)
    ghost.size = size
    return ghost.train(norm.training)
