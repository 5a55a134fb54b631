"""Cheaper layers in the place of a convolution: depthwise-separable, grouped or of low rank."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tune_cnn.training.surgery.shape import replace_module
from tune_cnn.untyped import Plain

Substitute = Mapping[str, Plain]
"""What stands in for a convolution: `kind`, and its `groups` or `rank`; plain data, to be done again."""


def substitute_for(layer: nn.Conv2d, kind: str, *, groups: int, rank_share: float) -> Substitute | None:
    """What of that kind would stand in for the layer; None where it can't, or would have as many weights."""
    made, read, area = layer.out_channels, layer.in_channels, layer.weight[0, 0].numel()
    if layer.groups != 1:
        return None
    if kind == "grouped":
        return {"kind": kind, "groups": groups} if made % groups == read % groups == 0 else None
    if kind == "depthwise_separable":
        return {"kind": kind} if read * (area + made) < made * read * area else None
    rank = max(1, round(rank_share * min(made, read * area)))
    return {"kind": kind, "rank": rank} if rank * (read * area + made) < made * read * area else None


def replace_layer(model: nn.Module, name: str, substitute: Substitute) -> None:
    """Put it in the place of the named convolution, its weights empty yet but for the bias, which is kept."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Conv2d), name
    replace_module(model, name, _empty(layer, substitute).train(layer.training))


def init_from(model: nn.Module, name: str, weight: Tensor, *, keep_length: bool) -> None:
    """Give the named substitute the weights that come nearest to those of the convolution before it (Frobenius).

    keep_length: then scale them so that the whole has the length of the former weights: what is drawn at random has a
    spread to keep, and nothing to come near to.
    """
    new = model.get_submodule(name)
    with torch.no_grad():
        if isinstance(new, nn.Conv2d):
            last = new
            new.weight.copy_(_diagonal_blocks(weight, new.groups))
        else:
            assert isinstance(new, nn.Sequential)
            spatial, mixing = new
            assert isinstance(spatial, nn.Conv2d) and isinstance(mixing, nn.Conv2d)
            last = mixing
            _init_pair(spatial, mixing, weight)
        if keep_length:
            last.weight.mul_(weight.norm() / composed(new).norm().clamp(min=torch.finfo(weight.dtype).tiny))


def composed(layer: nn.Module) -> Tensor:
    """The one kernel (made, read, height, width) that a substitute amounts to."""
    if isinstance(layer, nn.Conv2d):
        parts = layer.weight.chunk(layer.groups)
        whole = layer.weight.new_zeros(layer.out_channels, layer.in_channels, *layer.kernel_size)
        made, read = layer.out_channels // layer.groups, layer.in_channels // layer.groups
        for at, part in enumerate(parts):
            whole[at * made : (at + 1) * made, at * read : (at + 1) * read] = part
        return whole
    assert isinstance(layer, nn.Sequential)
    spatial, mixing = layer
    assert isinstance(spatial, nn.Conv2d) and isinstance(mixing, nn.Conv2d)
    return torch.einsum("om,mihw->oihw", mixing.weight[:, :, 0, 0], composed(spatial))


def _empty(layer: nn.Conv2d, substitute: Substitute) -> nn.Module:
    made, read = layer.out_channels, layer.in_channels
    if substitute["kind"] == "grouped":
        return _like(layer, read, made, groups=substitute["groups"], bias=layer.bias)
    between, groups = (read, read) if substitute["kind"] == "depthwise_separable" else (substitute["rank"], 1)
    mixing = nn.utils.skip_init(
        nn.Conv2d, between, made, 1, bias=False, device=layer.weight.device, dtype=layer.weight.dtype
    )
    assert isinstance(mixing, nn.Conv2d)
    mixing.bias = layer.bias
    return nn.Sequential(_like(layer, read, between, groups=groups, bias=None), mixing)


def _like(layer: nn.Conv2d, read: int, made: int, *, groups: int, bias: Tensor | None) -> nn.Conv2d:
    other = nn.utils.skip_init(
        nn.Conv2d,
        read,
        made,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=groups,
        bias=False,
        padding_mode=layer.padding_mode,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    assert isinstance(other, nn.Conv2d)
    other.bias = bias
    return other


def _diagonal_blocks(weight: Tensor, groups: int) -> Tensor:
    """Each group's made channels by its own read ones: all that a grouped convolution can keep."""
    read = weight.shape[1] // groups
    return torch.cat([part[:, at * read : (at + 1) * read] for at, part in enumerate(weight.chunk(groups))])


def _init_pair(spatial: nn.Conv2d, mixing: nn.Conv2d, weight: Tensor) -> None:
    """The nearest by the largest singular values: of the whole, or of what each read channel gives (depthwise)."""
    made, read = weight.shape[:2]
    if spatial.groups == read and spatial.out_channels == read and read > 1:
        filters, lengths, directions = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2), full_matrices=False)
        roots = lengths[:, :1].sqrt()
        mixing.weight.copy_((filters[:, :, 0] * roots).T.reshape(made, read, 1, 1))
        spatial.weight.copy_((directions[:, 0] * roots).reshape(spatial.weight.shape))
        return
    rank = spatial.out_channels
    filters, lengths, directions = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    roots = lengths[:rank].sqrt()
    mixing.weight.copy_((filters[:, :rank] * roots).reshape(mixing.weight.shape))
    spatial.weight.copy_((directions[:rank] * roots[:, None]).reshape(spatial.weight.shape))
