"""What must hold before the first trial, and the spec as this hardware can search it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tune_cnn import metrics as table
from tune_cnn.errors import ResourceError, StudyError
from tune_cnn.metrics import Where
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.prices import COST
from tune_cnn.spec.strategies import Cards, check_strategies
from tune_cnn.study.checks.adapting import adapt, joined_batches
from tune_cnn.study.checks.device import check_device
from tune_cnn.study.checks.shared_memory import check_shared_memory
from tune_cnn.study.machine import of_phase, versions
from tune_cnn.study.session.jobs import user_calls
from tune_cnn.training.messages import Inspection
from tune_cnn.trials.cluster.code import code_key
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.cluster.remote import call_on_node
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.untyped import Plain

POWER = "gpu_power_limit_w"  # as the inspection finds it, in a node's hardware
INSPECT = "tune_cnn.training.inspection.node:inspect_node"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A spec that this hardware can search, and what was found on the way."""

    spec: StudySpec
    cards: Cards  # of the strategies that it names
    info: Mapping[str, Plain]  # for the store: hardware, versions, data, model, the user's code
    notes: Sequence[str]  # for the user


def check(spec: StudySpec, slots: Slots, *, cache_dir: str) -> Checked:
    """Inspect a node with a trial's resources and hold the spec against it; raises InputError."""
    check_measurable(spec, slots.gpu_share)
    call = inspection_call(spec, slots, cache_dir=cache_dir)
    return checked_with(spec, slots, call_on_node(call.path, slots.bundles[0], *call.args, **call.kwargs))


def inspection_call(spec: StudySpec, slots: Slots, *, cache_dir: str) -> FirstCall:
    """What a node with a trial's resources is asked."""
    return FirstCall(path=INSPECT, args=(spec,), kwargs={"cuda": slots.gpu_share > 0, "cache_dir": cache_dir})


def checked_with(spec: StudySpec, slots: Slots, inspection: Inspection) -> Checked:
    """Hold the spec against a node's inspection; raises InputError."""
    of_device = check_device(spec, slots, inspection.device)
    adapted, notes = adapt(spec, inspection, cuda=slots.gpu_share > 0)
    check_shared_memory(adapted, inspection, trials=-(-slots.count // slots.nodes))
    notes = [*of_device, *inspection.data.notes, *notes, *joined_batches(spec, inspection)]
    info = {
        "hardware": _hardware(inspection, slots),
        "context_mib": inspection.device.context_mib,
        "versions": {**versions(), **inspection.versions},
        "data": {**asdict(inspection.data), "notes": notes},  # the report tells them too
        "model": asdict(inspection.model) if inspection.model is not None else None,
        "code": code_key(spec.resources.code, user_calls(spec)),
    }
    whole = adapted.model_copy(update={"space": check_strategies(adapted.space, inspection.strategies)})
    return Checked(spec=whole, cards=inspection.strategies, info=info, notes=notes)


def _hardware(inspection: Inspection, slots: Slots) -> dict[str, Plain]:
    """The node's, and the phase's; of several ranks also whether the network lies between them, which decides a step's
    time. A limit at which the phase holds the GPUs says nothing of the machine."""
    own = {k: v for k, v in inspection.hardware.items() if k != POWER or slots.power_limit_w is None}
    place = {} if len(slots.bundles) == 1 else {"ranks": "on one node" if slots.packed else "over several nodes"}
    if 0 < slots.gpu_share < 1:  # how the trials of a GPU share it decides a step's time
        place["gpu_sharing"] = "MPS" if inspection.device.has_mps else "time slices"
    return {**own, **place, **of_phase(slots.count, slots.gpu_share, slots.power_limit_w, slots.accelerator)}


def check_measurable(spec: StudySpec, gpu_share: float) -> None:
    """Refuse an objective or constraint that can't be measured with these resources."""
    for key, names in (("objectives", spec.objectives), ("constraints", list(spec.constraints))):
        for name in names:
            where = table.metric(name, spec.user_metrics).where
            if where is Where.CUDA and not gpu_share:
                raise ResourceError(f"{key}: {name} exists only on a GPU, and trials have none; choose another metric")
            if where is Where.WHOLE_GPU and gpu_share < 1:
                has = "have no GPU" if not gpu_share else f"share a GPU (gpus_per_rank={gpu_share:g})"
                todo = "leave prices.per_kwh out" if name == COST and gpu_share else "choose another metric"
                counts = f"{name} by prices.per_kwh" if name == COST else name
                raise ResourceError(
                    f"{key}: {counts} is counted for a whole GPU, and trials {has}; set resources.gpus_per_rank: 1 "
                    f"or {todo}"
                )


def check_unchanged(stored: Mapping[str, Plain], spec: StudySpec) -> None:
    """Refuse to go on with a study under another spec, unless only the budget grew; shows the difference."""
    before, now = parse_spec(stored, "the stored spec"), spec
    changes = [
        f"  {key}: {old!r} → {new!r}"
        for key, old, new in _differences(_flat(before.model_dump()), _flat(now.model_dump()))
        # more seeds or points only add runs; the smallest growth, as the budget, only says when to end; how long a
        # hanging trial is waited for changes nothing that is trained
        if key.partition(".")[0] not in {"budget", "confirm", "min_growth_pct_per_hour"}
        and key != "resources.stall_timeout_s"
    ]
    for limit in ("trials", "hours", "epochs"):
        old, new = getattr(before.budget, limit), getattr(now.budget, limit)
        if new is not None and (old is None or new < old):
            changes.append(f"  budget.{limit}: {old} → {new} (a budget may only grow)")
    if changes:
        raise StudyError(
            f"study {spec.study!r}: exists with another spec; only its budget may grow. Changed:\n"
            + "\n".join(changes)
            + "\nGo on with the old spec, or choose another name (--set study=NAME)."
        )


def _flat(tree: Mapping[str, Plain], prefix: str = "") -> dict[str, Plain]:
    flat: dict[str, Plain] = {}
    for key, value in tree.items():
        whole = isinstance(value, Mapping) and bool(value) and not set(value) <= {"low", "high", "log", "step"}
        flat.update(_flat(value, f"{prefix}{key}.") if whole else {f"{prefix}{key}": value})
    return flat


def _differences(before: Mapping[str, Plain], now: Mapping[str, Plain]) -> list[tuple[str, Plain, Plain]]:
    keys = dict.fromkeys([*before, *now])
    return [(k, before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)]
