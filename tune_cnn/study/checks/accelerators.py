"""A spec on several types of accelerator: what each can train, and what is known of them all together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tune_cnn.errors import ResourceError, SpecError
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.study.checks.preflight import Checked, check
from tune_cnn.study.machine import by_type
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.untyped import Plain

BY_HARDWARE = ("precision", "compile", "loader", "loader_workers")  # the keys of which some hardware lacks values


def check_others(
    spec: StudySpec, phases: Sequence[Slots], *, cache_dir: str, report: Callable[[str], None]
) -> dict[str, Checked]:
    """What a node of each type says that is not the first phase's; raises InputError where one can't search the spec.

    Asked before anything is trained: a second type that can't would be found out after half of the budget.
    """
    first_of: dict[str, Slots] = {}
    for slots in phases:
        if slots.accelerator is not None and slots.accelerator != phases[0].accelerator:
            first_of.setdefault(slots.accelerator, slots)
    found = {}
    for name, slots in first_of.items():
        report(f"checking data, model and hardware on {name}")
        try:
            found[name] = check(spec, slots, cache_dir=cache_dir)
        except (ResourceError, SpecError) as error:
            raise type(error)(f"on {name}: {error}") from None
    return found


def possible(of_type: StudySpec) -> dict[str, list[Plain]]:
    """What one type can train, of the keys that hardware decides on; `of_type`: the spec as it can search it."""
    return {key: list(of_type.dimension(key).values) for key in BY_HARDWARE if key in of_type.space}


def of_all_types(spec: StudySpec, found: Mapping[str, Checked]) -> Checked:
    """One space for all: what some type can train. Its info is the first one's, with each type's own beside it."""
    first = next(iter(found.values()))
    raw = first.spec.model_dump()
    for key in BY_HARDWARE:
        if key not in spec.space:
            continue
        asked = spec.dimension(key)
        kept = [v for v in asked.values if any(one.spec.dimension(key).holds(v) for one in found.values())]
        if len(kept) == len(asked.values):
            raw["space"][key] = spec.model_dump()["space"][key]
        else:
            raw["space"][key] = kept if len(kept) > 1 else kept[0]
    common = [note for note in first.notes if all(note in one.notes for one in found.values())]
    own = [f"{name}: {note}" for name, one in found.items() for note in one.notes if note not in common]
    notes = [*common, *own]
    info = {**first.info, **by_type({name: one.info for name, one in found.items()})}
    info["data"] = {**info["data"], "notes": notes}
    return replace(first, spec=parse_spec(raw), info=info, notes=notes)
