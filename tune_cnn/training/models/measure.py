"""What a model costs, and whether it can take the images at all, found on tensors without data where possible."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from tune_cnn.errors import ModelError, first_line
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.untyped import Untyped

IMAGES = 2  # the fewest that batch normalisation takes in training where the maps have shrunk to 1×1


class WeightsOnMeta(TorchFunctionMode):
    """Within it, `torch.empty` makes tensors without data: layers cost nothing to build, however large.

    Not `torch.device("meta")`: that one takes the small tensors too, on which RegNet does arithmetic as it is built.
    """

    def __torch_function__(
        self,
        func: Callable[..., Untyped],
        types: object,
        args: tuple[Untyped, ...] = (),
        kwargs: Mapping[str, Untyped] | None = None,
    ) -> Untyped:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def convolution_backward_flops(
    grad_output: list[int],
    images: list[int],
    filters: list[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    wanted: list[bool],
    **_: object,
) -> int:
    """The gradients of a convolution's input and of its filters cost as much as the convolution, each.

    torch's own formula (2.15) forgets the groups in the filters' gradient: it has EfficientNet-B0 at 42 times its
    forward pass. Without groups the two agree.
    """
    return sum(wanted[:2]) * conv_flop_count(images, filters, grad_output, transposed)


def _flop_counter() -> FlopCounterMode:
    return FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: convolution_backward_flops}
    )


def said(error: Exception) -> str:
    """An exception's kind and its first line."""
    return f"{type(error).__name__}: {first_line(error)}"


def _forward(model: nn.Module, images_nchw: Tensor, num_classes: int) -> Tensor:
    mode = "training" if model.training else "evaluation"
    try:
        output = model(images_nchw)
    except Exception as error:
        raise ModelError(f"in {mode} mode its forward raised {said(error)}") from error
    expected = f"a floating-point tensor of shape ({len(images_nchw)}, {num_classes}), (batch, num_classes)"
    if not isinstance(output, Tensor):
        raise ModelError(f"in {mode} mode it must return {expected}, got {type(output).__name__}")
    if tuple(output.shape) != (len(images_nchw), num_classes) or not output.is_floating_point():
        raise ModelError(f"in {mode} mode it must return {expected}, got {output.dtype} of shape {tuple(output.shape)}")
    return output


def takes_images(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> bool:
    """Whether one forward in evaluation mode goes through."""
    images_nchw = torch.zeros(IMAGES, in_channels, *image_size, device=_device(model))
    try:
        with torch.no_grad():
            _forward(model.eval(), images_nchw, num_classes)
    except ModelError:
        return False
    return True


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def trains_on_one_image(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> bool:
    """Whether a forward of a single image in training mode goes through; batch normalisation of 1×1 maps can't."""
    try:
        _forward(model.train(), torch.zeros(1, in_channels, *image_size, device=_device(model)), num_classes)
    except ModelError:
        return False
    return True


def measure(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> ModelFacts:
    """Run two images forward in evaluation mode, forward and backward in training mode, on the model's device.

    ModelError says what went wrong. Leaves gradients and running statistics behind: give it a model to throw away.
    """
    images_nchw = torch.zeros(IMAGES, in_channels, *image_size, device=_device(model))
    with _flop_counter() as inference:
        # Not under no_grad: there attention takes a fused path on the CPU that the counter can't see into.
        _forward(model.eval(), images_nchw, num_classes)
    with _flop_counter() as training:
        output = _forward(model.train(), images_nchw, num_classes)
        if not output.requires_grad:
            raise ModelError("in training mode no parameter gets a gradient: there is nothing to train")
        try:
            output.sum().backward()
        except Exception as error:
            raise ModelError(f"its backward raised {said(error)}") from error
    return ModelFacts(
        parameters=sum(p.numel() for p in model.parameters()),
        inference_gflops=inference.get_total_flops() / IMAGES / 1e9,
        train_gflops=training.get_total_flops() / IMAGES / 1e9,
        unused_parameters=tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None),
        joins_images=joins_images(model),
    )


def flops_by_module(
    model: nn.Module, *, in_channels: int, image_size: tuple[int, int]
) -> dict[str, dict[Untyped, float]]:
    """Of a training pass of one image: for each module, by its name, how much each of torch's operations does in it.

    The model is left as it was. Tried without data first, as `measure_unknown` does.
    """
    try:
        counted = _flops_of(deepcopy(model).to("meta"), in_channels, image_size)
    except Exception:  # it may look at values: only the real run may judge it
        counted = _flops_of(deepcopy(model), in_channels, image_size)
    root = f"{type(model).__name__}."
    return {
        name.removeprefix(root): {operation: flops / IMAGES for operation, flops in of_module.items()}
        for name, of_module in counted.items()
        if name.startswith(root)
    }


def _flops_of(model: nn.Module, in_channels: int, image_size: tuple[int, int]) -> dict[str, dict[Untyped, int]]:
    images_nchw = torch.zeros(IMAGES, in_channels, *image_size, device=_device(model))
    with torch.enable_grad(), _flop_counter() as counter:
        model.train()(images_nchw).sum().backward()
    counted: dict[str, dict[Untyped, int]] = counter.get_flop_counts()
    return counted


def joins_images(model: nn.Module) -> bool:
    """Whether in training an image's output depends on those beside it, by torch's batch normalisation."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def measure_unknown(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> ModelFacts:
    """`measure` for a model of the user's: without data if it can be done so, else for real."""
    measured = partial(measure, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    try:
        return measured(deepcopy(model).to("meta"))
    except Exception:  # it may look at values, or can't be copied: only the real run may judge it
        return measured(model)
