"""Cut away channels that do nothing any more, and the layers that are left without any."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tune_cnn.errors import StrategyError
from tune_cnn.training.surgery.channels import ChannelGraph
from tune_cnn.training.surgery.empty import EmptyMaps
from tune_cnn.training.surgery.gather import State, gather_channels
from tune_cnn.training.surgery.shape import check_eval_forward, empty, put_tensor, replace_module, resized, sizes
from tune_cnn.training.surgery.trace import channel_graph
from tune_cnn.untyped import Plain, Untyped


@dataclass(kw_only=True)
class Cut:
    """What a cut took and how to do it again (see `rebuild_shape`)."""

    graph: ChannelGraph  # of the model as it is now
    channels: int  # cut away
    change: dict[str, Plain] = field(default_factory=dict)
    carried: dict[nn.Parameter, dict[str, Untyped]] = field(default_factory=dict)


def dead_channels(model: nn.Module, graph: ChannelGraph, threshold: float) -> set[int]:
    """Channels none of whose weights, making or reading, reaches the threshold in absolute value.

    Layers joined by an addition have their channels in common: one lives while it lives in any of them.
    """
    largest: dict[int, list[Tensor]] = {}
    for name in sorted(graph.dense):
        weight = model.get_parameter(name).detach().abs()
        for axis, features in graph.axes[name].items():
            others = [other for other in range(weight.ndim) if other != axis]
            along = weight.amax(others).split([size for _, size in features])
            for root, values in zip(graph.roots(name, axis), along, strict=True):
                if root >= 0:
                    largest.setdefault(root, []).append(values.amax())
    roots = list(largest)
    if not roots:
        return set()
    tops = torch.stack([torch.stack(largest[root]).amax() for root in roots]).tolist()  # the one wait for the device
    return {root for root, top in zip(roots, tops, strict=True) if top < threshold}


def cut_channels(
    model: nn.Module, images_nchw: Tensor, *, threshold: float, state: State | None = None, doing: str
) -> Cut:
    """Cut the model's dead channels, in place.

    A convolution left without inputs or outputs goes, where a way around it is left (a residual addition): it becomes
    maps of zeros, and the norms that lose all their channels go with it. StrategyError where there is no way around.
    """
    before = sizes(model)
    graph = channel_graph(model, images_nchw)
    dead = dead_channels(model, graph, threshold)
    cut = Cut(graph=graph, channels=len(dead))
    if not dead:
        return cut
    emptied: dict[str, int] = {}
    passed: list[str] = []
    while left := _left_empty(model, graph, dead, doing):
        for name, layer in left.items():
            if isinstance(layer, nn.Conv2d):
                made = graph.roots(f"{name}.weight", 0)
                emptied[name] = 1 if dead.issuperset(made) else len(made)
                empty(model, name, emptied[name])
            elif isinstance(layer, EmptyMaps):
                put_tensor(model, f"{name}.zeros", layer.zeros[:1].clone())
            else:
                passed.append(name)
                replace_module(model, name, nn.Identity())
        graph = channel_graph(model, images_nchw)
        dead = dead_channels(model, graph, threshold)
    cut.carried = gather_channels(model, graph, dict.fromkeys(dead, 0), state)
    logits = check_eval_forward(model, images_nchw, doing=doing)
    if emptied and len(logits) > 1 and bool((logits == logits[0]).all()):
        raise StrategyError(_emptied(doing, ", ".join(emptied)))
    cut.graph = channel_graph(model, images_nchw)
    cut.change = {"empty": emptied, "passed": passed, "sizes": resized(before, sizes(model))}
    return cut


def _left_empty(model: nn.Module, graph: ChannelGraph, dead: set[int], doing: str) -> dict[str, nn.Module]:
    """Layers that would have an axis without any channel."""
    left: dict[str, nn.Module] = {}
    for name, axes in graph.axes.items():
        if all(not dead.issuperset(graph.roots(name, axis)) for axis in axes):
            continue
        path = name.rpartition(".")[0]
        left[path] = model.get_submodule(path)
    if not all(isinstance(layer, nn.Conv2d | _NormBase | EmptyMaps) for layer in left.values()):
        raise StrategyError(_emptied(doing, ", ".join(left)))
    return left


def _emptied(doing: str, layers: str) -> str:
    return (
        f"{doing}: all channels between {layers} lie under the threshold, and nothing leads around them: the net would "
        "be empty. Lower the penalty or the threshold"
    )


class GroupNorms:
    """The group lasso's penalty on every channel that can be cut.

    Σ over layers of (Σ over output channels ‖W_c‖₂ + Σ over input channels ‖W_k‖₂): fixed channels stand outside, the
    images' and the classes' among them, and depthwise filters, which mix no channels.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph) -> None:
        device = next(model.parameters()).device
        self._index: dict[str, dict[int, tuple[Tensor, int]]] = {}
        for name in sorted(graph.dense):
            for axis, features in graph.axes[name].items():
                free = [root for root in graph.roots(name, axis) if root >= 0]
                number = iter(range(len(free)))
                at: list[int] = []
                for (_, size), root in zip(features, graph.roots(name, axis), strict=True):
                    at += [next(number) if root >= 0 else len(free)] * size  # fixed ones fall into the last bin
                if free:
                    index = torch.tensor(at, dtype=torch.int64, device=device)
                    self._index.setdefault(name, {})[axis] = (index, len(free))

    def __bool__(self) -> bool:
        return bool(self._index)

    def __call__(self, model: nn.Module, epsilon: float) -> Tensor:
        """The sum of all norms; `epsilon` stands under each root."""
        squares: list[Tensor] = []
        for name, axes in self._index.items():
            weight = model.get_parameter(name).float()
            squared = weight.square().flatten(2).sum(2) if weight.ndim > 2 else weight.square()
            for axis, (index, channels) in axes.items():
                along = squared.sum(1 - axis)
                if channels < len(index):
                    along = along.new_zeros(channels + 1).index_add(0, index, along)[:channels]
                squares.append(along)
        return torch.cat(squares).add(epsilon).sqrt().sum()

    def shrink(self, model: nn.Module, by: float | Tensor) -> None:
        """Make every norm smaller by so much, in place; one that is smaller than that becomes exactly zero.

        The proximal step of the penalty, taken for the output channels first and then for the input channels.
        """
        with torch.no_grad():
            for name, axes in self._index.items():
                weight = model.get_parameter(name)
                if not weight.requires_grad:  # its gradient would not move it either
                    continue
                for axis, (index, channels) in axes.items():
                    others = [other for other in range(weight.ndim) if other != axis]
                    squared = weight.float().square().sum(others)
                    norms = squared.new_zeros(channels + 1).index_add(0, index, squared).sqrt()
                    kept = (1 - by / norms).clamp(min=0).nan_to_num(0)
                    kept[channels] = 1  # of what can't be cut
                    along = [-1 if at == axis else 1 for at in range(weight.ndim)]
                    weight.mul_(kept[index].reshape(along).to(weight.dtype))
