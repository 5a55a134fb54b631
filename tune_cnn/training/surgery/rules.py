"""What each operation does to the channels on axis 1: the operations that networks of convolutions are made of."""

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from tune_cnn.training.surgery.channels import ZERO, ChannelGraph, Features, fixed
from tune_cnn.untyped import Untyped


class TraceState(Protocol):
    """The forward pass as far as it has been followed."""

    graph: ChannelGraph

    @property
    def where(self) -> str: ...
    def features(self, tensor: object) -> Features | None: ...
    def name(self, tensor: object) -> str | None: ...
    def place(self, tensor: Tensor | None, axis: int, features: Features) -> Features: ...


Args = tuple[Untyped, ...]  # of a torch function's call
Kwargs = Mapping[str, Untyped]
Rule = Callable[[TraceState, Tensor, Args, Kwargs], Features | None]
"""Called as rule(pass, result, positional arguments, keyword arguments); None where it can't say."""


def _bound(names: str, args: Args, kwargs: Kwargs) -> list[Untyped]:
    """The arguments of these names, given by position or by name; None where absent."""
    order = names.split()
    return [args[at] if at < len(args) else kwargs.get(name) for at, name in enumerate(order)]


def _taken(state: TraceState, tensor: Tensor) -> Features:
    features = state.features(tensor)
    return features if features is not None else fixed(tensor.shape[1])


def _conv2d(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    images, weight, bias, *_, groups = _bound("input weight bias stride padding dilation groups", args, kwargs)
    if images.ndim != 4 or state.name(weight) is None:
        return None
    if groups in (None, 1):
        return _mixed(state, images, weight, bias)
    if groups == images.shape[1] == result.shape[1]:  # depthwise: each map by itself
        return state.place(bias, 0, state.place(weight, 0, _taken(state, images)))
    return None


def _linear(state: TraceState, _result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    inputs, weight, bias = _bound("input weight bias", args, kwargs)
    if inputs.ndim != 2 or state.name(weight) is None:
        return None
    return _mixed(state, inputs, weight, bias)


def _mixed(state: TraceState, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Features:
    name = state.name(weight)
    assert name is not None
    state.graph.dense.add(name)
    state.place(weight, 1, _taken(state, inputs))
    made = state.place(weight, 0, state.graph.channels.fresh(weight.shape[0]))
    return state.place(bias, 0, made)


def _batch_norm(state: TraceState, _result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    images, *vectors = _bound("input running_mean running_var weight bias", args, kwargs)
    features = _taken(state, images)
    for vector in vectors:
        features = state.place(vector, 0, features)
    return features


def _prelu(state: TraceState, _result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    images, slopes = _bound("input weight", args, kwargs)
    features = _taken(state, images)
    return features if slopes.numel() == 1 else state.place(slopes, 0, features)


def _each_by_itself(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    """Element by element, or map by map."""
    tensor = args[0] if args else kwargs.get("input")
    features = state.features(tensor)
    kept = isinstance(tensor, Tensor) and result.ndim > 1 and result.shape[:2] == tensor.shape[:2]
    return features if kept else None


def _two_together(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    """Addition, multiplication and the like: channels that meet are the same channel from there on."""
    one, other = _bound("input other", args, kwargs)
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return _each_by_itself(state, result, (one if isinstance(one, Tensor) else other,), {})
    a, b = state.features(one), state.features(other)
    if a is None and b is None:
        return None
    if a is None or b is None:
        return _with_unfollowed(state, (one, a), other) if b is None else _with_unfollowed(state, (other, b), one)
    if one.ndim != other.ndim:
        return None
    if one.shape[1] == other.shape[1]:
        return state.graph.channels.tie(a, b, f"{state.where}: tensors of unlike make are added")
    single, many = (a, b) if one.shape[1] == 1 else (b, a)
    state.graph.channels.fix(single, f"{state.where}: one map for all channels")
    return many


def _with_unfollowed(state: TraceState, known: tuple[Tensor, Features | None], other: Tensor) -> Features | None:
    tensor, features = known
    assert features is not None
    axis = other.ndim - (tensor.ndim - 1)  # of `other`, that meets the tensor's axis 1
    if axis > 1:
        return None
    if axis < 0 or other.shape[axis] == 1:
        return features
    return state.place(other, axis, features) if state.name(other) is not None else None


def _scaled(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    """Multiplication: a channel that padding made of zeros has no partner whose number it could follow."""
    for tensor in args:
        if any(channel == ZERO for channel, _ in state.features(tensor) or ()):
            return None
    return _two_together(state, result, args, kwargs)


def _cat(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    tensors, axis = _bound("tensors dim", args, kwargs)
    if (axis or 0) % result.ndim != 1 or all(state.features(tensor) is None for tensor in tensors):
        return None
    return tuple(place for tensor in tensors for place in _taken(state, tensor))


def _reshape(state: TraceState, result: Tensor, args: Args, _: Kwargs) -> Features | None:
    tensor = args[0]
    features = state.features(tensor)
    if features is None or result.ndim < 2 or result.shape[0] != tensor.shape[0]:
        return None
    if result.shape[1] == tensor.shape[1]:
        return features
    if result.ndim == 2 and tensor.ndim > 2:  # each map's positions side by side
        each = result.shape[1] // tensor.shape[1]
        return tuple((channel, size * each) for channel, size in features)
    return None


def _pad(state: TraceState, _: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    tensor, amounts, mode, value = _bound("input pad mode value", args, kwargs)
    features = state.features(tensor)
    if features is None:
        return None
    inner = 2 * (tensor.ndim - 2)  # pairs run from the last axis to the first
    if not any(amounts[inner:]):
        return features
    front, back, *batch = amounts[inner:]
    if front < 0 or back < 0 or any(batch) or value or mode not in (None, "constant"):
        return None
    padded: Features = ((ZERO, 1),) * front + features + ((ZERO, 1),) * back
    return padded


def _reduced(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    tensor, axes = _bound("input dim", args, kwargs)
    axes = [axes] if isinstance(axes, int) else axes
    if not axes or any(axis % tensor.ndim < 2 for axis in axes):
        return None
    return _each_by_itself(state, result, args, kwargs)


def _indexed(state: TraceState, result: Tensor, args: Args, kwargs: Kwargs) -> Features | None:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    whole = slice(None)
    if len(index) < 2 or index[0] != whole or index[1] != whole or not all(isinstance(i, slice) for i in index[2:]):
        return None
    return _each_by_itself(state, result, args[:1], kwargs)


_EACH_BY_ITSELF = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "logsigmoid", "tanh"),
    *("hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "hardshrink", "softshrink", "tanhshrink"),
    *("threshold", "clamp", "clamp_min", "clamp_max", "abs", "neg", "exp", "sqrt", "rsqrt", "square", "pow"),
    *("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"),
    *("max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d", "interpolate", "upsample"),
    *("clone", "contiguous", "detach", "to", "float", "half", "double", "bfloat16", "type", "type_as", "cuda", "cpu"),
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_EACH_BY_ITSELF, _each_by_itself),
    **dict.fromkeys(["add", "iadd", "radd", "sub", "isub", "rsub", "subtract"], _two_together),
    **dict.fromkeys(["mul", "imul", "rmul", "multiply", "div", "truediv", "itruediv", "divide"], _scaled),
    **dict.fromkeys(["maximum", "minimum"], _scaled),
    **dict.fromkeys(["cat", "concat", "concatenate"], _cat),
    **dict.fromkeys(["flatten", "view", "reshape", "squeeze", "unsqueeze"], _reshape),
    **dict.fromkeys(["mean", "sum", "amax", "amin"], _reduced),
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "pad": _pad,
    "getitem": _indexed,
}
"""By the operation's bare name: `relu`, `F.relu`, `Tensor.relu_` and `__iadd__` are found as relu and iadd."""
