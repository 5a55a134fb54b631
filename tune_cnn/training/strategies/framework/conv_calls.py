"""Another way to compute a convolution, put into a model's layers while it is trained."""

from collections.abc import Callable

from torch import Tensor, nn

ConvCall = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What a convolution does with its input, weight and bias."""


def plain_call(layer: nn.Conv2d, images_nchw: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's own, with the padding, stride and groups that it has."""
    output: Tensor = nn.Conv2d._conv_forward(layer, images_nchw, weight, bias)
    return output


def put_calls(model: nn.Module, make: Callable[[str, nn.Conv2d], ConvCall]) -> list[str]:
    """Give each convolution the call that `make` makes of its name and itself; those that have one keep it.

    Names and values are those of the plain layer. Returns the names of all convolutions.
    """
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    for name, layer in found:
        if "_conv_forward" not in layer.__dict__:
            layer.__dict__["_conv_forward"] = make(name, layer)
    return [name for name, _ in found]


def take_calls(model: nn.Module) -> None:
    """Let all convolutions be plain again."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.__dict__.pop("_conv_forward", None)
