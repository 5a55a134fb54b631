"""Which LightningModule a study trains, what of it can't be honoured here, and what its constructor is called with."""

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from tune_cnn.errors import SpecError, TrialError, nearest
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.calls import LIGHTNING, find_call
from tune_cnn.spec.configuration import ONLY_WHERE
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.untyped import Plain, Untyped

PACKAGES = ("lightning", "pytorch_lightning")  # either brings the class; we import neither
NEEDED = {
    "training_step": "it gives the loss",
    "configure_optimizers": "it gives the optimizer",
    "forward": "forward(images_nchw) gives the logits by which the model is tested and exported",
}
# Hooks that a Trainer would honour and our loop can't, each with its reason.
REFUSED = {
    "log": "its values are kept by our own",
    "prepare_data": "the images are those of `data`",
    "train_dataloader": "the images are those of `data`",
    "val_dataloader": "the images are those of `data`",
    "on_before_batch_transfer": "batches come on the device; on_after_batch_transfer is called",
    "transfer_batch_to_device": "batches come on the device; on_after_batch_transfer is called",
    "configure_callbacks": "callbacks are a Trainer's, and none is here",
    "configure_sharded_model": "each rank holds the whole model; configure_model is called",
    "on_validation_model_eval": "our loop sets the mode, and gives back the one before",
    "on_validation_model_train": "our loop sets the mode, and gives back the one before",
    "on_validation_model_zero_grad": "our loop leaves gradients as they are",
}
# What the loop and the loaders do themselves, whoever trains.
DONE = frozenset({
    "epochs", "batch_size", "augment", "loader", "loader_workers", "precision", "channels_last", "gradient_clip",
    "eval_image_size", "eval_crop", *(key for key, (other, _) in ONLY_WHERE.items() if other == "augment"),
})  # fmt: skip
ALIASES = {"lr": "learning_rate"}
NOT_PASSED = frozenset({"model", "training", "strategies"})  # mappings of a configuration, not keys


def find_module(name: str) -> type[nn.Module]:
    """The class that `lightning:package.module:Class` names; SpecError where it is missing or can't be trained here."""
    call = name.removeprefix(LIGHTNING)
    try:
        found = find_call(call, where="training")
    except SpecError as error:
        cause = error.__cause__
        package = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        if package in PACKAGES:
            raise SpecError(
                f"training: {call} needs the package {package}, which isn't installed: `uv sync --extra lightning`"
            ) from error
        raise
    base = base_of(found)
    if base is None or not isinstance(found, type):
        raise SpecError(
            f"training: {call} must be a class of its own below LightningModule (of lightning or pytorch_lightning), "
            f"got {found!r}; name a generator without `lightning:`"
        )
    for method, why in NEEDED.items():
        if not overridden(found, method):
            raise SpecError(f"training: {call} must define {method}: {why}")
    for hook, why in REFUSED.items():
        if overridden(found, hook):
            raise SpecError(
                f"training: {call}.{hook} can't be honoured: {why}; take it out, or set it back in a subclass: "
                f"{hook} = LightningModule.{hook}"
            )
    step: Callable[..., Untyped] = getattr(found, "training_step")  # noqa: B009 - a plain `type` has no such name
    if "dataloader_iter" in inspect.signature(step).parameters:
        raise SpecError(
            f"training: {call}.training_step must take (batch, batch_idx), and dataloader_iter is a Trainer's"
        )
    return found


def base_of(found: object) -> type | None:
    """The LightningModule that a class is made from; None of any other, and of LightningModule itself."""
    above = found.__mro__[1:] if isinstance(found, type) else ()
    names = (kind for kind in above if kind.__name__ == "LightningModule")
    return next((kind for kind in names if kind.__module__.partition(".")[0] in PACKAGES), None)


def overridden(found: type, method: str) -> bool:
    """Whether the class has a method of its own where LightningModule has another, or none."""
    return getattr(found, method, None) is not getattr(base_of(found), method, None)


def check_space(spec: StudySpec, found: type[nn.Module]) -> None:
    """SpecError where the space holds a key that neither our loop nor the constructor takes: it would be ignored.

    At its default it is taken all the same, as an export names every key.
    """
    names, takes_all = _parameters(found)
    for key, dimension in spec.space.items():
        own, plain = key.startswith("training."), key.removeprefix("training.")
        if own and plain not in names and not takes_all:
            raise SpecError(
                f"space.{key}: {found.__name__}.__init__ has no parameter {plain!r}{nearest(plain, sorted(names))}"
            )
        if key.startswith("model.") and "model" not in names:
            raise SpecError(
                f"space.{key}: {found.__name__}.__init__ takes no `model`, so the study's model is not made; "
                "let it take one, or leave the argument out"
            )
        taken = own or key.startswith("model.") or key in DONE or key in names
        taken = taken or any(key == of and alias in names for alias, of in ALIASES.items())
        if not taken and any(value != Configuration.model_fields[key].default for value in dimension.ends):
            raise SpecError(
                f"space.{key}: is nothing that the loop of a LightningModule does, and {found.__name__}.__init__ has "
                f"no parameter of that name; let it take {key}, or leave it out"
            )


def arguments_of(
    found: type[nn.Module], configuration: Configuration, facts: DataFacts, model: nn.Module | None
) -> dict[str, Plain]:
    """What the constructor is called with, by name.

    Each `training.<name>` of the space; and for each parameter that it has, in this order: `model` the study's own;
    `num_classes`, `in_channels`, `image_size` (height, width) of the images; any key of the configuration
    (`lr` is learning_rate), which goes before the parameter's default. TrialError where one has no value.
    """
    names, takes_all = _parameters(found)
    strange = [name for name in configuration.training if name not in names and not takes_all]
    if strange:
        raise TrialError(
            f"training.{strange[0]}: {found.__name__}.__init__ has no such parameter"
            f"{nearest(strange[0], sorted(names))}"
        )
    given: dict[str, Plain] = dict(configuration.training)
    of_images = {
        "num_classes": facts.num_classes,
        "in_channels": facts.in_channels,
        "image_size": facts.image_size,
    }
    keys = type(configuration).model_fields.keys() - NOT_PASSED
    for name, required in names.items():
        key = ALIASES.get(name, name)
        if name in given:
            continue
        if name == "model":
            given[name] = model
        elif name in of_images:
            given[name] = of_images[name]
        elif key in keys:
            given[name] = getattr(configuration, key)
        elif required:
            raise TrialError(
                f"{found.__name__}.__init__ needs {name!r}, which is no key of a configuration; set "
                f"space.training.{name}, or give it a default"
            )
    return given


def takes_model(found: type[nn.Module]) -> bool:
    """Whether the constructor asks for the study's model."""
    return "model" in _parameters(found)[0]


def _parameters(found: type[nn.Module]) -> tuple[Mapping[str, bool], bool]:
    """The constructor's parameters, and whether each must be given; whether it takes any other besides.

    Behind `**kwargs` those of the class above, to which they are handed on as a rule.
    """
    named: dict[str, bool] = {}
    base = base_of(found)
    above = found.__mro__[: found.__mro__.index(base)] if base is not None else ()
    for kind in above:
        if "__init__" not in vars(kind):
            continue
        own = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]  # without self
        for one in own:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                named.setdefault(one.name, one.default is one.empty)
        if all(one.kind is not one.VAR_KEYWORD for one in own):
            return named, False
    return named, True


def takes_number(step: Callable[..., Untyped]) -> bool:
    """Whether a step asks for the batch's number beside the batch."""
    parameters = inspect.signature(step).parameters.values()
    return len(parameters) > 1 or any(one.kind is one.VAR_POSITIONAL for one in parameters)
