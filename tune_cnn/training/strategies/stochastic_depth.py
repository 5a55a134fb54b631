"""Stochastic depth (Huang, Sun, Liu, Sedra, Weinberger, 2016, https://arxiv.org/abs/1603.09382)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.surgery.blocks import insertable_blocks
from tune_cnn.untyped import Untyped


class StochasticDepth(Strategy):
    """Leave residual blocks out of training steps, later ones more often; in evaluation each is scaled by its chance.

    Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", 2016, https://arxiv.org/abs/1603.09382.
    In each step block l of L is there with probability 1 − l/L·(1 − `survival`); a block that isn't is neither computed
    nor learned. For evaluation and export what the last layer of a block's branch adds is multiplied by that
    probability, in its own weights: the net that comes out is like any other. Only blocks that keep the shape of their
    maps can be left out, as they pass on what they are given then.
    """

    name = "stochastic_depth"
    paper = "Huang, Sun, Liu, Sedra & Weinberger, 2016, https://arxiv.org/abs/1603.09382"
    saves = Saves.TIME
    sites = frozenset({Site.DEPTH})
    leaves_unused = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "survival": Knob(
            allowed=Range(low=0.1, high=0.95), default=0.5, meaning="probability with which the last block is there"
        )
    }
    forbids: ClassVar[Mapping[str, str]] = {
        name: f"{name} gives another shape to blocks that stochastic_depth leaves out"
        for name in ("net2net", "prunetrain")
    }

    survival: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._last: dict[str, str] = {}  # of each block, the layer that its branch ends with
        self._draws = torch.Generator()  # of the epoch
        self._left_out: dict[str, int] = {}  # images, by block and image size

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        if spec.dimension("compile").holds(True):
            raise SpecError(
                "space.compile: stochastic_depth leaves other blocks out in each step, and each choice would be "
                "compiled anew; set it to false"
            )

    def prepare(self, run: TrainingRun) -> None:
        if run.configuration.compile:
            raise StrategyError("stochastic_depth: every choice of blocks would be compiled anew; set compile: false")
        blocks = insertable_blocks(run.model, run.sample_batch().images_nchw)
        self._last = {block.names[0]: block.last for block in blocks if block.last}
        if not self._last:
            raise StrategyError(
                "stochastic_depth: the model has no residual block that keeps the shape of its maps; leave it out"
            )
        for name in self._last:
            block = run.model.get_submodule(name)
            block.__dict__["forward"] = Gate(block)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        self._draws = run.generator(self.name, epoch)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The generator goes on from its state."""

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        drawn = torch.rand(len(self._last), generator=self._draws).tolist()
        height, width = batch.images_nchw.shape[-2:]
        for name, number, chance in zip(self._last, drawn, self._chances(), strict=True):
            gate = _gate(run.model, name)
            gate.closed = number >= chance
            if gate.closed:
                key = f"{name} {height} {width}"
                self._left_out[key] = self._left_out.get(key, 0) + len(batch.labels_n)
        return batch

    def after_step(self, run: TrainingRun) -> None:
        for name in self._last:
            _gate(run.model, name).closed = False  # whoever goes through the net beside the steps meets all of it

    def evaluated(self, run: TrainingRun, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        scaled = dict(values)
        for last, chance in zip(self._last.values(), self._chances(), strict=True):
            for name, _ in run.model.get_submodule(last).named_parameters():
                scaled[f"{last}.{name}"] = values[f"{last}.{name}"] * chance
        return scaled

    def metrics(self, run: TrainingRun) -> Mapping[str, float]:
        for key, images in self._left_out.items():
            name, height, width = key.split()
            flops = run.flops_by_module((int(height), int(width)))[name]
            run.gflops_beside -= images * sum(flops.values()) / 1e9
        self._left_out = {}
        return {}

    def finish(self, run: TrainingRun) -> None:
        for name in self._last:
            del run.model.get_submodule(name).__dict__["forward"]
        self._last = {}

    def _chances(self) -> list[float]:
        return chances(len(self._last), self.survival)

    def state_dict(self) -> dict[str, Untyped]:
        return {"draws": self._draws.get_state(), "left_out": self._left_out, "finished": not self._last}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._draws.set_state(state["draws"])
        self._left_out = dict(state["left_out"])
        if state["finished"]:
            self.finish(run)


class Gate:
    """A block's forward, which passes on what it is given while it is closed."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self.closed = False

    def __call__(self, images_nchw: Tensor) -> Tensor:
        if self.closed and self._block.training:
            return images_nchw
        output: Tensor = type(self._block).forward(self._block, images_nchw)
        return output


def chances(blocks: int, survival: float) -> list[float]:
    """With which each block is there: falling in a line to `survival` at the last one."""
    return [1 - block / blocks * (1 - survival) for block in range(1, blocks + 1)]


def _gate(model: nn.Module, name: str) -> Gate:
    gate = model.get_submodule(name).__dict__["forward"]
    assert isinstance(gate, Gate), name
    return gate
