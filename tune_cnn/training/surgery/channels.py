"""Which channels of a model's tensors are one and the same: they live, die and multiply together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FIXED = -1  # a channel that can't be changed: of the images, of the classes, or of what can't be followed
ZERO = -2  # a channel of zeros that padding added: it follows whatever it is added to

# What stands along a feature axis: channel after channel, each with the number of positions it takes (H × W after
# flattening, else 1).
Features = tuple[tuple[int, int], ...]


class Channels:
    """Numbered channels, tied to one another as they are found to be the same (union-find)."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._fixed: set[int] = set()  # roots
        self.reasons: dict[str, None] = {}  # why channels are fixed, each reason once

    def fresh(self, count: int) -> Features:
        """New channels, tied to none."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return tuple((channel, 1) for channel in range(first, first + count))

    def root(self, channel: int) -> int:
        """The one channel that stands for all that are tied to this one; FIXED where it can't be changed."""
        if channel < 0:
            return channel
        root = channel
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[channel] != root:
            self._parent[channel], channel = root, self._parent[channel]
        return FIXED if root in self._fixed else root

    def fix(self, features: Features, why: str) -> Features:
        """These channels must stay as they are."""
        for channel, _ in features:
            if self.root(channel) >= 0:
                self._fixed.add(self.root(channel))
        self.reasons[why] = None
        return tuple((FIXED, size) for _, size in features)

    def tie(self, one: Features, other: Features, why: str) -> Features:
        """The same channels, seen twice."""
        if [size for _, size in one] != [size for _, size in other]:
            self.fix(one, why)
            self.fix(other, why)
            return fixed(sum(size for _, size in one))
        return tuple((self._tie(a, b, why), size) for (a, size), (b, _) in zip(one, other, strict=True))

    def _tie(self, one: int, other: int, why: str) -> int:
        if one == ZERO or other == ZERO:
            return max(one, other)
        a, b = self.root(one), self.root(other)
        if a == b:
            return one
        if a == FIXED or b == FIXED:
            self.fix(((one, 1), (other, 1)), why)
            return FIXED
        self._parent[b] = a
        return one


def fixed(positions: int) -> Features:
    return ((FIXED, 1),) * positions


@dataclass(kw_only=True)
class ChannelGraph:
    """The channels along the axes of a model's tensors.

    axes: for a parameter or buffer, by name, the channels along each axis that has any.
    dense: the weights of convolutions and linear layers that mix channels. Their axis 0 makes channels, axis 1 reads
    them. All other tensors (batch norm, biases, depthwise filters) go with the channels that they stand beside.
    activations: numbers that one image's forward pass makes, over all layers.
    """

    channels: Channels = field(default_factory=Channels)
    axes: dict[str, dict[int, Features]] = field(default_factory=dict)
    dense: set[str] = field(default_factory=set)
    activations: int = 0

    def roots(self, name: str, axis: int) -> list[int]:
        """The channel at each place along that axis, each under one name; FIXED and ZERO among them."""
        return [self.channels.root(channel) for channel, _ in self.axes[name][axis]]

    def free(self) -> dict[int, set[tuple[str, int]]]:
        """Every channel that can be changed, and the axes on which it stands."""
        places: dict[int, set[tuple[str, int]]] = {}
        for name, axes in self.axes.items():
            for axis in axes:
                for root in self.roots(name, axis):
                    if root >= 0:
                        places.setdefault(root, set()).add((name, axis))
        return places

    def groups(self) -> dict[tuple[tuple[str, int], ...], list[int]]:
        """Free channels that stand on the same axes, in their order: the units of one width."""
        groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
        for root, places in self.free().items():
            groups.setdefault(tuple(sorted(places)), []).append(root)
        return groups


def positions(
    features: Features, graph: ChannelGraph, counts: Mapping[int, int]
) -> tuple[Sequence[int], Sequence[int], Sequence[bool]]:
    """Where each position of a new axis comes from, how often its channel now stands there, and whether it is a copy.

    counts: by root, 0 to cut a channel, 2 and more to copy it; 1 where absent. Copies stand right behind the first, so
    that every axis orders them alike, through concatenation, padding and flattening too.
    """
    sources: list[int] = []
    shares: list[int] = []
    copies: list[bool] = []
    start = 0
    for channel, size in features:
        count = counts.get(graph.channels.root(channel), 1)
        for copy in range(count):
            sources.extend(range(start, start + size))
            shares.extend([count] * size)
            copies.extend([copy > 0] * size)
        start += size
    return sources, shares, copies
