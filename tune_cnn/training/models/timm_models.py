"""The networks of timm (PyTorch image models), `timm:NAME`, with weights from its hub or a file."""

import inspect
from pathlib import Path

import timm
from timm.models import load_state_dict
from torch import nn

from tune_cnn.errors import ModelError, first_line, nearest
from tune_cnn.training.models.pretrained_images import PretrainedImages
from tune_cnn.untyped import Untyped

DEFAULT = "DEFAULT"  # timm's choice among a network's weights
OF_NETWORK = frozenset({"huggingface_hub", "httpx", "urllib", "requests"})  # whose errors say that a hub didn't answer
PLAIN = (int, float, bool, str)
# What the data decide, and what would make the network another kind of thing.
_OURS_TO_SET = frozenset({"num_classes", "in_chans", "img_size", "features_only", "device", "dtype"})


def timm_network(name: str) -> "TimmModel":
    """Of a name without `timm:`; ModelError with the nearest where there is none."""
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        near = nearest(plain, timm.list_models())
        raise ModelError(f"timm has no model {plain!r}{near}")
    if tag:
        raise ModelError(f"model 'timm:{name}': {tag!r} names weights; write timm:{plain}, and weights: {tag}")
    return TimmModel(plain)


def images_of(name: str, weights: str) -> PretrainedImages:
    """What images the weights of this network were made with, by its pretrained config."""
    config = _config(timm_network(name).name, weights)
    _, height, width = config.input_size
    return PretrainedImages(mean=tuple(config.mean), std=tuple(config.std), image_size=(height, width))


def _config(name: str, weights: str) -> Untyped:
    """timm's pretrained config; of a file, that of the network's default weights."""
    if _is_file(weights) or weights == DEFAULT:
        return timm.get_pretrained_cfg(name)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if weights not in tags:
        near = nearest(weights, [DEFAULT, *tags], "a file of weights is named by its path")
        raise ModelError(f"model 'timm:{name}' has no weights {weights!r}{near}")
    return timm.get_pretrained_cfg(f"{name}.{weights}")


def _is_file(weights: str) -> bool:
    return "/" in weights


class TimmModel:
    """A network of timm as a factory of our form, its `weights` beside the arguments."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.network = _parameters(name)
        given = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
            for key in ("num_classes", "in_channels", "image_size")
        ]
        self.__signature__ = inspect.Signature([*given, *_accepted(self.network)])

    def __call__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        weights: str | None = None,
        **arguments: object,
    ) -> nn.Module:
        settings: dict[str, Untyped] = {**arguments, "num_classes": num_classes, "in_chans": in_channels}
        if "img_size" in self.network:  # transformers, whose position embedding is of one size
            settings["img_size"] = tuple(image_size)
        if weights is None:
            return self._built(settings)
        config = _config(self.name, weights)
        if _is_file(weights):
            overlay = {"file": weights, "num_classes": self._classes_of(Path(weights), config), "custom_load": False}
            return self._built(settings | {"pretrained": True, "pretrained_cfg_overlay": overlay})
        if not config.has_weights:
            raise ModelError("timm has no weights for it; leave weights out, or name a file")
        try:
            return self._built(settings | {"pretrained": True, "pretrained_cfg": config.tag})
        except Exception as error:  # the hub's, urllib's, the file system's
            if not _is_of_network(error):
                raise
            raise ModelError(
                f"weights {weights} could not be had from {config.hf_hub_id or config.url} ({type(error).__name__}: "
                f"{first_line(error)}); fetch them where there is a network, and name the file: weights: /path/to/"
                "model.safetensors"
            ) from error

    def _built(self, settings: dict[str, Untyped]) -> nn.Module:
        model: nn.Module = timm.create_model(self.name, **settings)
        return model

    def _classes_of(self, path: Path, config: Untyped) -> int:
        """How many classes the file's own head has: another head than asked for is left out, and starts afresh."""
        try:
            state = load_state_dict(str(path))
        except Exception as error:  # nearly anything, of a file that isn't one of weights
            why = "there is no such file" if not path.is_file() else f"{type(error).__name__}: {first_line(error)}"
            raise ModelError(
                f"{path} does not hold weights ({why}); give a file of safetensors or of torch.save"
            ) from error
        head = config.classifier[0] if isinstance(config.classifier, tuple | list) else config.classifier
        weight = state.get(f"{head}.weight")
        if weight is None:
            raise ModelError(
                f"{path} holds no {head}.weight, so it is no file of timm:{self.name}; it has "
                f"{', '.join(list(state)[:3])} and {max(0, len(state) - 3)} more"
            )
        return int(weight.shape[0])


def _is_of_network(error: Exception) -> bool:
    """Whether the weights couldn't be had, rather than the network not be built; by its class or one that caused it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) or type(seen).__module__.partition(".")[0] in OF_NETWORK:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """Of the class that a network's entry point makes; the entry point itself takes anything."""
    made = inspect.signature(timm.model_entrypoint(name)).return_annotation
    return dict(inspect.signature(made).parameters) if inspect.isclass(made) else {}


def _accepted(network: dict[str, inspect.Parameter]) -> list[inspect.Parameter]:
    """The plain values that a user may set; all, where the class takes any or isn't told."""
    anything = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
    if not network or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in network.values()):
        return [anything]
    return [
        inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=p.default)
        for p in network.values()
        if isinstance(p.default, PLAIN) and p.name not in _OURS_TO_SET
    ]
