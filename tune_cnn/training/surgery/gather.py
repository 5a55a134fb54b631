"""Cut channels, copy them, or draw new ones: weights, batch-norm state and optimizer state by one mapping."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tune_cnn.training.surgery.channels import ChannelGraph, positions
from tune_cnn.training.surgery.shape import put_tensor, settle
from tune_cnn.untyped import Plain, Untyped

SECOND_MOMENTS = frozenset({"exp_avg_sq", "max_exp_avg_sq"})  # of gradients: they scale with the gradient's square

State = Mapping[Tensor, Mapping[str, Untyped]]


class Gather:
    """Where every value of one tensor's new form comes from.

    counts: see `positions`. `sources` are per axis; `readers` and `makers` say how often the channel now stands that
    this value reads or makes, shaped to multiply the new tensor. random: the channels that are more than before are
    drawn by it and nothing reads them yet; else they are copies, which share what reads them.
    """

    def __init__(
        self,
        name: str,
        tensor: Tensor,
        graph: ChannelGraph,
        counts: Mapping[int, int],
        random: torch.Generator | None = None,
    ) -> None:
        self.sources: dict[int, Tensor] = {}
        self.makers = self.readers = torch.ones((), device=tensor.device)
        self.copied: Tensor | None = None  # whether a made channel is a copy
        self.read_copies: Tensor | None = None  # whether a channel that is read is one
        self.random, self.is_dense = random, name in graph.dense
        for axis, features in graph.axes[name].items():
            sources, shares, copies = positions(features, graph, counts)
            self.sources[axis] = torch.tensor(sources, dtype=torch.int64, device=tensor.device)
            along = [1] * tensor.ndim
            along[axis] = -1
            share = torch.tensor(shares, dtype=torch.float32, device=tensor.device).reshape(along)
            copied = torch.tensor(copies, device=tensor.device).reshape(along)
            if axis == 1 and self.is_dense:
                self.readers, self.read_copies = share, copied
            else:
                self.makers, self.copied = share, copied

    def __call__(self, tensor: Tensor) -> Tensor:
        for axis, sources in self.sources.items():
            tensor = tensor.index_select(axis, sources)
        return tensor

    def weights(self, tensor: Tensor) -> Tensor:
        """What reads a channel that now stands n times reads an n-th of each: the sum is as it was."""
        moved = self(tensor)
        if self.random is None:
            return moved / self.readers if tensor.is_floating_point() else moved
        if self.is_dense and self.copied is not None:
            moved = torch.where(self.copied, _drawn_like(tensor, moved, self.random), moved)
        return moved if self.read_copies is None else moved.masked_fill(self.read_copies, 0)

    def state(self, key: str, value: object, tensor: Tensor) -> Untyped:
        """The optimizer's memory of gradients, as the new net would have had them.

        A channel that stands n times is read with an n-th of the weight, so what makes it has an n-th of the gradient.
        Of one that was drawn there is nothing to remember.
        """
        if not isinstance(value, Tensor) or value.shape != tensor.shape:
            return value.clone() if isinstance(value, Tensor) else value
        if self.random is None:
            return _laid_out(self(value) / (self.makers**2 if key in SECOND_MOMENTS else self.makers), tensor)
        moved = self(value)
        for new in (self.copied, self.read_copies):
            moved = moved if new is None else moved.masked_fill(new, 0)
        return _laid_out(moved, tensor)


def gather_channels(
    model: nn.Module,
    graph: ChannelGraph,
    counts: Mapping[int, int],
    state: State | None = None,
    *,
    random: torch.Generator | None = None,
) -> dict[nn.Parameter, dict[str, Plain]]:
    """Change the model in place to one where channel `root` stands `counts[root]` times (0: cut; absent: once).

    Function-preserving for every count above 0. state: the optimizer's, by parameter; returned is that of the new
    parameters. Gradients are dropped. random: see `Gather`.
    """
    changed = {root for root, count in counts.items() if count != 1}
    carried: dict[nn.Parameter, dict[str, Untyped]] = {}
    tensors = dict((*model.named_parameters(), *model.named_buffers()))
    with torch.no_grad():
        for name in graph.axes:
            if not changed.intersection(root for axis in graph.axes[name] for root in graph.roots(name, axis)):
                continue
            old = tensors[name]
            gather = Gather(name, old, graph, counts, random)
            new = put_tensor(model, name, _laid_out(gather.weights(old), old))
            if isinstance(new, nn.Parameter) and isinstance(old, nn.Parameter):
                former = (state or {}).get(old)
                if former:
                    carried[new] = {key: gather.state(key, value, old) for key, value in former.items()}
    settle(model)
    return carried


def copies(name: str, tensor: Tensor, graph: ChannelGraph, counts: Mapping[int, int]) -> Tensor | None:
    """Where the made channels of a changed dense weight are copies, shaped to multiply it."""
    return Gather(name, tensor, graph, counts).copied


def _drawn_like(old: Tensor, new: Tensor, random: torch.Generator) -> Tensor:
    """Normal rows in the shape of `new`, each as long as the rows of `old` are in the mean."""
    drawn: Tensor = torch.randn(new.shape, generator=random).to(new)
    times: Tensor = old.flatten(1).norm(dim=1).mean() / drawn.flatten(1).norm(dim=1)
    return drawn * times.reshape(-1, *[1] * (new.ndim - 1))


def _laid_out(new: Tensor, like: Tensor) -> Tensor:
    """In the memory format that the old tensor has."""
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous():
        return new.contiguous(memory_format=torch.channels_last)
    return new.contiguous()
