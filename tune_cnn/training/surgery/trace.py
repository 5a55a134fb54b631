"""Follow channels through one forward pass: every operation is seen as it is called, whatever the control flow."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tune_cnn.training.surgery.channels import ChannelGraph, Features, fixed
from tune_cnn.training.surgery.empty import EmptyMaps
from tune_cnn.training.surgery.rules import RULES, TraceState
from tune_cnn.untyped import Untyped

IMAGES = 2  # one would hide a batch axis that is folded into another


def channel_graph(model: nn.Module, images_nchw: Tensor) -> ChannelGraph:
    """The channels of a model, found by one forward pass in evaluation mode, without gradients.

    What can't be followed is fixed, and why stands in `graph.channels.reasons`, with the module's name. The model is
    left as it was.
    """
    tracer = _Tracer(model)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), _names_of_modules(model, tracer), tracer:
            images_nchw = images_nchw[:IMAGES].clone()
            tracer.put(images_nchw, fixed(images_nchw.shape[1]))
            output = model(images_nchw)
            logits = tracer.features(output) if isinstance(output, Tensor) else None
    finally:
        for module, training in modes.items():
            module.training = training
    graph = tracer.graph
    if logits is not None:
        graph.channels.fix(logits, "the model's output")
    for name, why in tracer.not_to_be_changed.items():
        for features in graph.axes.get(name, {}).values():
            graph.channels.fix(features, why)
    return graph


class _Tracer(TorchFunctionMode, TraceState):
    """Sees every call of torch and says of each result what stands on its axis 1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = ChannelGraph()
        self.not_to_be_changed: dict[str, str] = {}
        self.path = [""]  # of modules being called, by name
        self._features: dict[int, Features] = {}
        self._alive: list[Tensor] = []  # or an id would be given to another tensor
        self._names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}

    def features(self, tensor: object) -> Features | None:
        return self._features.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def put(self, tensor: Tensor, features: Features) -> None:
        assert tensor.ndim > 1 and tensor.shape[1] == sum(size for _, size in features)
        self._features[id(tensor)] = features
        self._alive.append(tensor)

    def name(self, tensor: object) -> str | None:
        """The model's own name of a parameter or buffer."""
        return self._names.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def place(self, tensor: Tensor | None, axis: int, features: Features) -> Features:
        """These channels stand along an axis of the model's tensor; tied to those found there before."""
        if tensor is None:
            return features
        name = self.name(tensor)
        if name is None:
            return self.graph.channels.fix(features, f"{self.where}: takes a tensor that is no parameter of its own")
        axes = self.graph.axes.setdefault(name, {})
        if axis in axes:
            features = self.graph.channels.tie(axes[axis], features, f"{self.where}: {name} serves several layers")
        axes[axis] = features
        return features

    @property
    def where(self) -> str:
        return self.path[-1] or "the model's own forward"

    def __torch_function__(
        self,
        func: Callable[..., Untyped],
        types: object,
        args: tuple[Untyped, ...] = (),
        kwargs: Mapping[str, Untyped] | None = None,
    ) -> Untyped:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        made = list(_tensors(result))
        if not made:
            return result
        name = getattr(func, "__name__", str(func)).strip("_")
        if isinstance(result, Tensor):
            if id(result) not in self._names and not any(result is tensor for tensor in given):
                self.graph.activations += result.numel() // IMAGES
            rule = RULES.get(name)
            features = rule(self, result, args, kwargs) if rule is not None else None
            if features is not None:
                self.put(result, features)
                return result
        self._fix(name, given, made)
        return result

    def _fix(self, operation: str, given: list[Tensor], made: list[Tensor]) -> None:
        """Nothing is known of this operation: what went in must stay as it is, and so must what came out."""
        why = f"{self.where}: {operation} can't be followed"
        followed = [features for tensor in given if (features := self.features(tensor)) is not None]
        for features in followed:
            self.graph.channels.fix(features, why)
        for tensor in given:
            if (name := self.name(tensor)) is not None:
                self.not_to_be_changed[name] = why
        if followed:
            for tensor in made:
                if tensor.ndim > 1:
                    self.put(tensor, fixed(tensor.shape[1]))


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


@contextmanager
def _names_of_modules(model: nn.Module, tracer: _Tracer) -> Iterator[None]:
    """Keep the tracer told which module is being called."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: tracer.path.append(name), prepend=True))
        handles.append(module.register_forward_hook(lambda *_: _left(tracer), always_call=True))
        if isinstance(module, EmptyMaps):
            handles.append(module.register_forward_hook(lambda own, _, maps: _empty(tracer, own, maps)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _left(tracer: _Tracer) -> None:
    tracer.path.pop()


def _empty(tracer: _Tracer, module: EmptyMaps, maps: Tensor) -> None:
    """Maps without content are channels like others: those that they are added to decide how many there are."""
    tracer.put(maps, tracer.place(module.zeros, 0, tracer.graph.channels.fresh(len(module.zeros))))
