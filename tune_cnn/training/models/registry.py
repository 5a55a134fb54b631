"""Models by name: find, build and check them."""

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from tune_cnn.errors import ModelError, nearest
from tune_cnn.spec.calls import find_call, is_call, resolve
from tune_cnn.training.models.airbench import airbench94
from tune_cnn.training.models.arguments import Factory, check_arguments
from tune_cnn.training.models.densenet import densenet_bc_100_12
from tune_cnn.training.models.determinism import without_determinism
from tune_cnn.training.models.dpn import dpn92
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.models.lenet import lenet5
from tune_cnn.training.models.measure import (
    IMAGES,
    WeightsOnMeta,
    measure,
    measure_unknown,
    said,
    takes_images,
    trains_on_one_image,
)
from tune_cnn.training.models.pretrained_images import PretrainedImages
from tune_cnn.training.models.resnet import resnet8, resnet20, resnet32, resnet56
from tune_cnn.training.models.small_cnn import small_cnn
from tune_cnn.training.models.stages import Stage, stages_of
from tune_cnn.untyped import Plain, Untyped

OURS: dict[str, Factory] = {
    "small_cnn": small_cnn,
    "lenet5": lenet5,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "densenet_bc_100_12": densenet_bc_100_12,
    "dpn92": dpn92,
    "airbench94": airbench94,
}

TIMM = "timm:"
USUAL_SIDES = (8, 16, 28, 32, 64, 96, 128, 224, 256, 299)
"""Image sides that are tried to tell the user one that would do."""


def model_names() -> tuple[str, ...]:
    """Ours, then torchvision's; any `timm:NAME` and `package.module:name` besides."""
    return (*OURS, *_torchvision("torchvision_names")())


def find_model(name: str) -> Factory:
    """The factory of that name, to be called as f(num_classes=…, in_channels=…, image_size=…, **arguments).

    ModelError where there is none, SpecError where there is none of the user's.
    """
    if name in OURS:
        return OURS[name]
    if name.startswith(TIMM):
        network: Factory = _timm("timm_network")(name.removeprefix(TIMM))
        return network
    if is_call(name):
        return find_call(name, where=f"model {name!r}")
    if name in _torchvision("torchvision_names")():
        factory: Factory = _torchvision("TorchvisionModel")(name)
        return factory
    near = nearest(name, model_names(), "your own is named as package.module:name")
    raise ModelError(f"there is no model {name!r}{near}")


def _torchvision(name: str) -> Untyped:
    """Of torchvision's models, imported when one is asked for: that takes 4 s, which every slot would pay."""
    return resolve(f"tune_cnn.training.models.torchvision_models:{name}")


def _timm(name: str) -> Untyped:
    """Of timm's models, imported when one is asked for; ModelError where timm isn't installed."""
    try:
        return resolve(f"tune_cnn.training.models.timm_models:{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "timm":
            raise
        raise ModelError("models named timm:NAME need timm, which isn't installed; uv sync --extra timm") from error


def pretrained_images(name: str, weights: str | None) -> PretrainedImages | None:
    """What images the weights want; None where the data decide, as for torchvision's."""
    if weights is None or not name.startswith(TIMM):
        return None
    found: PretrainedImages = _timm("images_of")(name.removeprefix(TIMM), weights)
    return found


def build_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    arguments: Mapping[str, Plain] = {},
) -> nn.Module:
    """Build a model on the CPU, in training mode, drawn from torch's global generator.

    `image_size` is (height, width). ModelError says what is wrong with the name, the arguments or the weights.
    """
    factory = find_model(name)
    check_arguments(name, factory, arguments)
    settings = dict(arguments)
    if weights is not None:
        if name in OURS or is_call(name):
            raise ModelError(
                f"model {name!r}: weights={weights!r} are for torchvision's and timm's models only; leave weights out"
                + (", and load your own inside the factory" if is_call(name) else "")
            )
        settings["weights"] = weights
    try:
        model = factory(num_classes=num_classes, in_channels=in_channels, image_size=tuple(image_size), **settings)
    except ModelError as error:
        raise ModelError(_about(f"model {name!r}", error)) from error
    except Exception as error:  # the factory is the user's code, or torchvision's behind the user's arguments
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        raise ModelError(
            f"model {name!r} can't be built for {_images(in_channels, image_size)} and {num_classes} classes"
            f"{f' with {given}' if given else ''}: {said(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {name!r}: its factory must return an nn.Module, got {type(model).__name__}")
    _make_lazy_layers(name, model, in_channels, image_size)
    return model.train()


def _about(subject: str, error: ModelError) -> str:
    """The error's words, opened by whose they are, unless it says so itself."""
    return str(error) if str(error).startswith("model ") else f"{subject}: {error}"


def _images(in_channels: int, image_size: tuple[int, int]) -> str:
    return f"{in_channels}-channel images of {image_size[0]}×{image_size[1]}"


def _make_lazy_layers(name: str, model: nn.Module, in_channels: int, image_size: tuple[int, int]) -> None:
    """Let layers such as nn.LazyLinear take their shape now: an optimizer can't hold what has none."""
    if not any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        return
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, in_channels, *image_size))
    except Exception as error:
        raise ModelError(f"model {name!r} can't take {_images(in_channels, image_size)}: {said(error)}") from error


def check_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    arguments: Mapping[str, Plain] = {},
) -> ModelFacts:
    """Build the model and run two images through it, forward and back; ModelError says why it can't take them.

    Ours and torchvision's are built without data, so that size costs little; the user's is built for real, once.
    torch's global generator is left as it was.
    """
    factory = find_model(name)
    check_arguments(name, factory, arguments)
    known = not is_call(name)
    shape: dict[str, Untyped] = {
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": tuple(image_size),
    }
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*meta parameter")  # weights loaded into tensors without data
        try:
            if known:
                return measure(_without_data(name, shape, weights, arguments), **shape)
            model = build_model(name, **shape, weights=weights, arguments=arguments)
            return measure_unknown(model, **shape)
        except ModelError as error:
            message = _about(f"model {name!r} can't take {_images(in_channels, shape['image_size'])}", error)
            if known and weights is None:
                message += _size_that_would_do(name, shape, arguments)
            raise ModelError(message) from error


def takes_batches_of_one(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    arguments: Mapping[str, Plain] = {},
) -> bool:
    """Whether the model, which can be built, trains on a batch of one image."""
    shape: dict[str, Untyped] = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    with torch.random.fork_rng(devices=[]):
        if not is_call(name):
            return trains_on_one_image(_without_data(name, shape, None, arguments), **shape)
        return trains_on_one_image(build_model(name, **shape, arguments=arguments), **shape)


def stages_of_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    arguments: Mapping[str, Plain] = {},
) -> list[Stage]:
    """The stages of the model, which can be built, and its head as the last one; ModelError where there aren't two."""
    shape: dict[str, Untyped] = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    if is_call(name):
        model = build_model(name, **shape, arguments=arguments)
        return stages_of(model, torch.zeros(IMAGES, in_channels, *image_size))
    model = _without_data(name, shape, None, arguments)
    return stages_of(model, torch.zeros(IMAGES, in_channels, *image_size, device="meta"))


def layers_without_determinism(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    arguments: Mapping[str, Plain] = {},
) -> list[str]:
    """The layers of the model, which can be built, that can't be trained bit by bit alike on a GPU."""
    shape: dict[str, Untyped] = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    with torch.random.fork_rng(devices=[]):
        if is_call(name):
            model = build_model(name, **shape, arguments=arguments)
        else:
            model = _without_data(name, shape, None, arguments)
        return without_determinism(model, in_channels=in_channels, image_size=image_size)


def _without_data(
    name: str, shape: dict[str, Untyped], weights: str | None, arguments: Mapping[str, Untyped]
) -> nn.Module:
    with WeightsOnMeta():
        return build_model(name, **shape, weights=weights, arguments=arguments).to("meta")


def _size_that_would_do(name: str, shape: dict[str, Untyped], arguments: Mapping[str, Untyped]) -> str:
    for side in USUAL_SIDES:
        other = shape | {"image_size": (side, side)}
        try:
            model = _without_data(name, other, None, arguments)
        except ModelError:
            continue
        if takes_images(model, **other):
            return f"; images of {side}×{side} would do: resize them, or choose another model"
    return ""
