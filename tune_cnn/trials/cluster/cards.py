"""The cards behind Ray's GPUs: it knows neither the slices of a card that is cut nor cards of two types in a node."""

import logging
import os
from collections.abc import Sequence

from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.training.meters.cards import Card, cards, visible
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster.remote import call_on_each
from tune_cnn.untyped import Plain

import ray  # isort: skip

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
SEEN = f"{__name__}:seen"


def show_slices() -> dict[str, int]:
    """How many GPUs a Ray of this machine has where cards are cut into slices (MIG); nothing where none is.

    Ray itself counts cards, and CUDA shows a process one slice of them all. So the slices are named in
    CUDA_VISIBLE_DEVICES, from which Ray gives each trial its own.
    """
    slices = slices_of(seen())
    if slices is None:
        return {}
    os.environ[VISIBLE] = ",".join(slices)
    return {"num_gpus": len(slices)}


def seen() -> list[Card]:
    """The cards and slices of this node that CUDA_VISIBLE_DEVICES lets a process see."""
    return visible(cards(), os.environ.get(VISIBLE))


def slices_of(found: Sequence[Card]) -> list[str] | None:
    """All that can be trained on, by UUID; None where no card is cut, so that Ray's own count is right."""
    if not any(card.is_cut or card.uuid.startswith("MIG-") for card in found):
        return None
    return [one.uuid for card in found for one in (card.slices if card.is_cut else (card,))]


def check_cards(resources: Resources, *, is_local: bool) -> list[str]:
    """ResourceError where a node mixes cards of two types; notes on what else Ray doesn't see. Needs Ray connected."""
    if all(phase.gpus_per_rank == 0 for phase in resources.phases):
        return []
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    types: list[str | None] = [*resources.accelerators] or [None]  # each is judged for itself
    notes = [_notes_on([n for n in nodes if n.get("GPU", 0) >= 1 and _is_of_type(n, one)], is_local) for one in types]
    return [note for some in notes for note in some]


def _notes_on(wanted: Sequence[dict[str, Plain]], is_local: bool) -> list[str]:
    if is_local and len(wanted) == 1:
        found = [seen()]
    else:
        found = call_on_each(SEEN, [{"CPU": 0, _place_of(node): 0.001} for node in wanted])
    pairs = zip(wanted, found, strict=True)
    return judged([(_place_of(node).removeprefix("node:"), int(node["GPU"]), there) for node, there in pairs])


def judged(nodes: Sequence[tuple[str, int, Sequence[Card] | Exception]]) -> list[str]:
    """The same from each node's name, Ray's count of its GPUs and its cards (or why they could not be asked for)."""
    notes: list[str] = []
    types: dict[str, str] = {}  # a node, by the type of its cards
    for where, count, found in nodes:
        if isinstance(found, Exception):
            log.debug("the cards of %s are not known: %s", where, found)
            continue
        units = [one for card in found for one in (card.slices if card.is_cut else (card,))]
        names = sorted({one.name for one in units[:count]})  # Ray gives out the first ones
        if len(names) > 1:
            alike = ",".join(one.uuid for one in units if one.name == names[0])
            raise ResourceError(
                f"resources: node {where} mixes {' and '.join(names)}, whose times do not compare; let Ray see "
                f"those of one type there, as by {VISIBLE}={alike}"
            )
        if any(card.is_cut for card in found) and count != len(units):
            notes.append(
                f"node {where}: Ray counts {count} GPUs, and its cards are cut into {len(units)} MIG slices; start Ray "
                f"there with {VISIBLE}={','.join(one.uuid for one in units)} --num-gpus={len(units)}"
            )
        types |= dict.fromkeys(names, where)
    if len(types) > 1:
        told = ", ".join(f"{name} (on {where})" for name, where in types.items())
        notes.append(f"the GPUs are not all of one kind, so times of trials may not compare: {told}")
    return notes


def _is_of_type(node: dict[str, Plain], accelerator: str | None) -> bool:
    return accelerator is None or f"accelerator_type:{accelerator}" in node


def _place_of(node: dict[str, Plain]) -> str:
    """The resource that only this node has, by which a call finds it."""
    return next(key for key in node if key.startswith("node:") and not key.startswith("node:__"))
