"""Where a training stands within an epoch: what its checkpoint holds beside what one between epochs does."""

import copy
import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tune_cnn.training.data.readers import Int64
from tune_cnn.training.loop import EpochSums
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.process.seeding import generators_state, set_generators
from tune_cnn.untyped import Untyped

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WithinEpoch:
    """An epoch that is being trained on this rank."""

    epoch: int  # from 0
    positions_n: Int64 | None  # the images in their order, of all ranks, where a strategy gives it
    sums: EpochSums

    def state_dict(self) -> dict[str, Untyped]:
        """Equal on all ranks."""
        order = None if self.positions_n is None else torch.from_numpy(self.positions_n)
        return {"epoch": self.epoch, "steps": self.sums.steps, "order": order}

    def state_of_rank(self, device: torch.device) -> dict[str, Untyped]:
        """What this rank's steps have added up, and where its generators stand; waits for the device."""
        sums = self.sums
        return {
            "loss": sums.loss.item(),
            "skipped_steps": sums.skipped_steps.item(),
            "images": sums.images,
            "captured": sums.captured,
            "generators": generators_state(device),
        }


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The same as a checkpoint tells of it."""

    epoch: int
    steps: int
    positions_n: Int64 | None
    of_rank: Mapping[str, Untyped]

    @classmethod
    def of(cls, state: Mapping[str, Untyped], of_rank: Mapping[str, Untyped]) -> "Interrupted":
        order = state["order"]
        return cls(
            epoch=state["epoch"],
            steps=state["steps"],
            positions_n=None if order is None else order.numpy(),
            of_rank=of_rank,
        )

    def go_on(self, sums: EpochSums, device: torch.device) -> None:
        """The sums of a new epoch become the interrupted one's, the generators what they were."""
        sums.loss.fill_(self.of_rank["loss"])
        sums.skipped_steps.fill_(self.of_rank["skipped_steps"])
        sums.images, sums.steps, sums.captured = self.of_rank["images"], self.steps, self.of_rank["captured"]
        set_generators(self.of_rank["generators"], device)


def buffers_and(model: nn.Module, strategies: Mapping[str, Untyped]) -> dict[str, Untyped]:
    """What of a training's state may be another on each rank within an epoch."""
    state = model.state_dict()
    buffers = {name: state[name] for name, _ in model.named_buffers() if name in state}
    return {"model": buffers, "strategies": strategies}


def differing(state: Mapping[str, Untyped], group: ProcessGroup) -> dict[Path, Untyped]:
    """This rank's leaves of a nested state that are not rank 0's, by their paths, tensors on the CPU.

    Within an epoch each rank has running statistics of its own, and so has what a strategy keeps of them.
    """
    if group.ranks == 1:
        return {}
    mine = dict(_leaves(state))
    told = {path: _digest(leaf) for path, leaf in mine.items()}
    of_first = group.share(told)
    return {path: _on_cpu(mine[path]) for path, digest in told.items() if of_first.get(path) != digest}


def with_leaves(state: Mapping[str, Untyped], leaves: Mapping[Path, Untyped]) -> dict[str, Untyped]:
    """The state with these leaves in the place of its own."""
    made = dict(state)
    for path, leaf in leaves.items():
        inside = made
        for key in path[:-1]:
            inside[key] = copy.copy(inside[key])
            inside = inside[key]
        inside[path[-1]] = leaf
    return made


def _leaves(state: Mapping[str, Untyped], path: Path = ()) -> Iterator[tuple[Path, Untyped]]:
    items: Iterable[tuple[str, Untyped]] = state.items()
    for key, value in items:
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _digest(leaf: Untyped) -> bytes:
    data = pickle.dumps(leaf)
    if isinstance(leaf, Tensor):
        data = leaf.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() + str(leaf.shape).encode()
    return hashlib.blake2b(data, digest_size=16).digest()


def _on_cpu(leaf: Untyped) -> Untyped:
    return leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf
