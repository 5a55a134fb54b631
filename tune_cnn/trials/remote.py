"""Run one function of the training room on a node that has a trial's resources, so that the driver needs no torch."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.code import add_import_folders, import_folders

import ray  # isort: skip
from ray.exceptions import RayTaskError


def call_on_node(path: str, bundle: Mapping[str, float], *args: Any, **kwargs: Any) -> Any:
    """The result of `package.module:function`; what it raised is raised here as it was."""
    (result,) = call_at_once(path, bundle, [args], **kwargs)
    return result


def call_at_once(
    path: str, bundle: Mapping[str, float], arguments: Sequence[tuple[Any, ...]], **kwargs: Any
) -> list[Any]:
    """The results of several calls of a function, each with a trial's resources and all at the same time."""
    other = {key: value for key, value in bundle.items() if key not in {"CPU", "GPU"}}
    task = _call.options(
        num_cpus=bundle.get("CPU", 1), num_gpus=bundle.get("GPU", 0), resources=other or None, max_retries=1
    )
    try:
        return list(ray.get([task.remote(path, args, kwargs, import_folders()) for args in arguments]))
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None


@ray.remote
def _call(path: str, args: tuple[Any, ...], kwargs: dict[str, Any], folders: tuple[str, ...]) -> Any:
    add_import_folders(folders)
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)(*args, **kwargs)
