"""How many trials fit onto nodes at a time, by their resources. Plain, so that it can be tried without Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.untyped import Plain, Untyped

Bundle = Mapping[str, float]  # what one rank takes of a node


def placed(bundles: Sequence[Bundle], on: Sequence[Mapping[str, Plain]]) -> tuple[int, bool]:
    """Trials that fit at a time, and whether each has its ranks on one node: so it is where any node holds a trial."""
    count = _count([bundles], on)
    return (count, True) if count else (_count([[bundle] for bundle in bundles], on), len(bundles) == 1)


def room(bundles: Sequence[Bundle], on: Sequence[Mapping[str, Plain]], *, packed: bool) -> int:
    """Trials that these nodes hold at a time, where it is settled whether a trial's ranks share a node."""
    return _count([bundles] if packed else [[bundle] for bundle in bundles], on)


def _count(parts: Sequence[Sequence[Bundle]], on: Sequence[Mapping[str, Plain]]) -> int:
    """Trials that fit at a time, by placing their parts first-fit: each on one node, a GPU's fractions on a device."""
    free = [_Free(cpus=node.get("CPU", 0), gpus=[1.0] * int(node.get("GPU", 0)), other=node) for node in on]
    if len(parts) == 1:  # then no node asks what another holds
        return sum(_repeats(node, parts[0]) for node in free)
    trials = 0
    while all(any(node.take_all(part) for node in free) for part in parts):
        trials += 1
    return trials


def _repeats(node: "_Free", part: Sequence[Bundle]) -> int:
    taken = 0
    while node.take_all(part):
        taken += 1
    return taken


@dataclass
class _Free:
    cpus: float
    gpus: list[float]
    other: Mapping[str, Untyped]

    def take_all(self, bundles: Sequence[Bundle]) -> bool:
        """All of them, or none."""
        before = self.cpus, list(self.gpus)
        if all(self.take(bundle) for bundle in bundles):
            return True
        self.cpus, self.gpus = before
        return False

    def take(self, bundle: Bundle) -> bool:
        share = bundle.get("GPU", 0.0)
        device = next((i for i, left in enumerate(self.gpus) if left >= share - 1e-9), None) if share else -1
        named = all(key in self.other for key in bundle if key.startswith("accelerator_type:"))
        if self.cpus < bundle["CPU"] or device is None or not named:
            return False
        self.cpus -= bundle["CPU"]
        if device >= 0:
            self.gpus[device] -= share
        return True
