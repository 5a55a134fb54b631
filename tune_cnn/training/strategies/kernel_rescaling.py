"""Kernel rescaling (Gusmão, Francini, Lepsøy, Magli, 2016, https://arxiv.org/abs/1610.03623), with smaller images."""

import logging
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.dimensions import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs, switching_epoch
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.kernels import (
    carried_state,
    padding_for,
    resize_images,
    resize_kernels,
    set_image_size,
    set_kernel,
    smaller_kernel,
)
from tune_cnn.training.surgery.shape import eval_forward
from tune_cnn.untyped import Plain, Untyped

_log = logging.getLogger(__name__)


class KernelRescaling(Strategy):
    """Train with small kernels on small images first, then rescale the kernels and go on at full size.

    Gusmão, Francini, Lepsøy, Magli, 2016, https://arxiv.org/abs/1610.03623.

    Images are scaled by `scale` and kernels of 5×5 and more to the nearest odd size, 3×3 at least; on a net of 3×3
    kernels alone it is progressive resizing of the images, which is logged, and stands in an export's `changes.json`.
    A model that is built for one size of image is given the smallest from `scale` on that it takes with its smaller
    kernels. Until the rescaling the model resizes its images itself, in evaluation too: a net that is taken from an
    epoch before it is a net for small images.

    The resizing is bilinear with a factor of (k/k′)², which keeps the scale of the response: our reading, the paper's
    text leaves it open.
    """

    name = "kernel_rescaling"
    paper = "Gusmão, Francini, Lepsøy, Magli, 2016, https://arxiv.org/abs/1610.03623"
    saves = Saves.TIME
    sites = frozenset({Site.RESOLUTION})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "scale": Knob(allowed=Range(low=0.25, high=0.9), default=0.5, meaning="of images and kernels to begin with"),
        "until": Knob(
            allowed=Range(low=0.05, high=0.95), default=0.5, meaning="share of the epochs with small kernels and images"
        ),
    }
    scale: float
    until: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._full: dict[str, dict[str, Plain]] = {}  # size and padding of the kernels that are small for now

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        self._rescaling_epoch(run.epochs)
        model, images_nchw = run.model, run.sample_batch().images_nchw
        self._full = shrink_kernels(model, self.scale, pretrained=run.pretrained)
        image_size = smallest_images(model, images_nchw, self.scale)
        if not self._full and image_size is None:
            raise StrategyError(
                f"{self.name}: the model has no kernels above 3×3, and it takes no images smaller than "
                f"{_sides(images_nchw)}: there is nothing to rescale; leave the strategy out"
            )
        if image_size is not None:
            set_image_size(model, image_size)
        _log.info("%s", _in_words(self._full, image_size))
        kernels = {name: _kernel(model, name) for name in self._full}
        run.replace_model(model, {}, by=self.name, change={"image_size": image_size, "kernels": kernels})

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch != self._rescaling_epoch(run.epochs):
            return
        model = run.model
        carried: dict[nn.Parameter, dict[str, Untyped]] = {}
        set_image_size(model, None)
        with torch.no_grad():
            for name, kernel in self._full.items():
                old = model.get_submodule(name)
                assert isinstance(old, nn.Conv2d)
                new = set_kernel(model, name, tuple(kernel["size"]), kernel["padding"])
                new.weight.copy_(resize_kernels(old.weight, kernel["size"]))
                state = run.optimizer.state.get(old.weight)
                if state:
                    carried[model.get_parameter(f"{name}.weight")] = carried_state(state, old.weight, kernel["size"])
        run.replace_model(model, carried, by=self.name, change={"image_size": None, "kernels": self._full})

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The changes tell all."""

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        set_image_size(model, change["image_size"] and tuple(change["image_size"]))
        for name, kernel in change["kernels"].items():
            set_kernel(model, name, tuple(kernel["size"]), kernel["padding"])
        return model

    def _rescaling_epoch(self, epochs: int) -> int:
        return switching_epoch(self.until, epochs, name=self.name)


def shrink_kernels(model: nn.Module, scale: float, *, pretrained: bool = False) -> dict[str, dict[str, Plain]]:
    """Give every convolution that has large kernels small ones, in place; what the large ones were, by name.

    The small ones are the middle of the large, in the spread that fewer weights are drawn with; pretrained ones are
    resized, as they will be back.
    """
    full: dict[str, dict[str, Plain]] = {}
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Conv2d) or (size := smaller_kernel(layer, scale)) is None:
            continue
        full[name] = _kernel(model, name)
        small = set_kernel(model, name, size, padding_for(layer, size))
        if pretrained:
            small.weight.data.copy_(resize_kernels(layer.weight.detach(), size))
            continue
        top, left = ((old - new) // 2 for old, new in zip(layer.kernel_size, size, strict=True))
        middle = layer.weight[:, :, top : top + size[0], left : left + size[1]]
        with torch.no_grad():
            small.weight.copy_(middle * (layer.weight[0, 0].numel() / middle[0, 0].numel()) ** 0.5)
    return full


def smallest_images(model: nn.Module, images_nchw: Tensor, scale: float) -> tuple[int, int] | None:
    """The smallest size of image from `scale` on that the model takes; None where that is the full one."""
    height, width = images_nchw.shape[2:]
    for smaller in range(max(1, round(scale * height)), height):
        size = (smaller, max(1, round(width * smaller / height)))
        try:
            eval_forward(model, resize_images(images_nchw[:2], size))
        except Exception:  # the model may be the user's; what it raises on images it can't take is its own affair
            continue
        return size
    return None


def _kernel(model: nn.Module, name: str) -> dict[str, Plain]:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    padding = layer.padding if isinstance(layer.padding, str) else [int(side) for side in layer.padding]
    return {"size": list(layer.kernel_size), "padding": padding}


def _sides(images_nchw: Tensor) -> str:
    return "×".join(str(side) for side in images_nchw.shape[2:])


def _in_words(full: Mapping[str, Plain], image_size: tuple[int, int] | None) -> str:
    images = "images stay as they are" if image_size is None else f"images are {image_size[0]}×{image_size[1]} at first"
    if full:
        return f"kernel_rescaling: {len(full)} convolutions begin with smaller kernels; {images}"
    return f"kernel_rescaling: no kernel above 3×3, so it is progressive resizing alone; {images}"
