"""What a factory accepts, held against what it is given."""

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from tune_cnn.errors import ModelError, nearest
from tune_cnn.untyped import Plain

Factory = Callable[..., nn.Module]
"""Called as f(num_classes=…, in_channels=…, image_size=(height, width), **arguments) -> nn.Module."""

GIVEN = ("num_classes", "in_channels", "image_size")
"""What the data decide; never arguments of the user's."""

_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def named_arguments(name: str, factory: Factory) -> tuple[str, ...] | None:
    """The arguments a factory takes beside what the data decide; None where it takes any name, or can't tell."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a built-in or compiled callable
        return None
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    named = {p.name: p for p in parameters if p.kind in _BY_NAME}
    missing = [key for key in GIVEN if key not in named]
    if missing and not takes_any:
        raise ModelError(
            f"model {name!r}: a factory is called as f(num_classes=…, in_channels=…, image_size=(height, width), "
            f"**arguments), but this one doesn't take {', '.join(missing)}; add it to its signature"
        )
    return None if takes_any else tuple(key for key in named if key not in GIVEN)


def check_arguments(name: str, factory: Factory, arguments: Mapping[str, Plain]) -> None:
    """Refuse what the factory doesn't know, and what it needs and wasn't given."""
    for key in arguments:
        if key in GIVEN:
            raise ModelError(
                f"model {name!r}: argument {key!r} is set by the data, got {arguments[key]!r}; leave it out"
            )
    known = named_arguments(name, factory)
    if known is None:
        return
    for key in arguments:
        if key not in known:
            hint = nearest(key, known)
            accepted = f"it takes {', '.join(known)}" if known else "it takes none"
            # `nearest` lists the known names itself where none is near: said once is enough.
            raise ModelError(
                f"model {name!r} has no argument {key!r}; {accepted}{hint if hint.startswith('; did') else ''}"
            )
    parameters = inspect.signature(factory).parameters
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in arguments]
    if missing:
        raise ModelError(
            f"model {name!r} needs the argument {', '.join(missing)}; set it as model.{missing[0]} in the space"
        )


def at_least(key: str, value: object, least: int) -> int:
    """`value` as a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ModelError(f"{key} must be a whole number of at least {least}, got {value!r}")
    return value
