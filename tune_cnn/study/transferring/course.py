"""The course of `transfer`: choose, connect, probe in rounds, predict, keep; the same command again measures anew."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError
from tune_cnn.files import write_whole
from tune_cnn.front.transfer import ALLOWANCE, chosen
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.costs import KnownCost
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.spec import StudySpec
from tune_cnn.spec.costs import cost_key
from tune_cnn.study.accelerators import TRANSFERRED, on_type_alone, searched_types
from tune_cnn.study.archive import feasible_points, open_store, read_archive, spec_of
from tune_cnn.study.checks.preflight import Checked, check, check_measurable
from tune_cnn.study.checks.resume import check_same_images
from tune_cnn.study.confirming.course import spec_on
from tune_cnn.study.confirming.plan import phase_of
from tune_cnn.study.front import Front
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.locations import Locations
from tune_cnn.study.machine import machine_of
from tune_cnn.study.searching.costs import setup_of, typical
from tune_cnn.study.searching.probing import STEPS, Prober, late_changes
from tune_cnn.study.session.session import Report, Session, on_ray
from tune_cnn.study.transferring.carried import Probed, as_plain, carried_rows, check_objectives
from tune_cnn.training.messages import Probe
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.trials.dedicated import alone
from tune_cnn.untyped import Plain

PROBES = 5  # of each configuration: with 3, Student's t alone makes an interval twice as wide
CONFIGURATIONS = 24  # that are probed, where the front has no more

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What is carried where."""

    archive: StudyArchive  # its trials on the type that is carried from
    spec: StudySpec  # on nodes of the other type
    source: str
    accelerator: str
    probes: int


@left_as_found()
def transfer(
    study: str,
    locations: Locations,
    *,
    accelerator: str,
    source: str | None = None,
    probes: int = PROBES,
    configurations: int = CONFIGURATIONS,
    report: Report,
) -> dict[str, Plain]:
    """Predict a study's front on another type of accelerator; what is predicted is kept. Raises TuneCnnError.

    `source`: the type that it is carried from, where the study was searched on several.
    """
    for name, given in (("probes", probes), ("configurations", configurations)):
        if given < 1:
            raise InputError(f"transfer: {name} must be at least 1, got {given}")
    order = _order(read_archive(study, locations.home, None), accelerator, source, probes)
    notes = check_objectives(order.spec, accelerator)
    with ExitStack() as stack:
        store = open_store(locations.home)
        stack.callback(store.close)
        stack.enter_context(store.lease(study))
        session = Session(store=store, spec=order.spec, locations=locations, report=report)
        trials = {trial.number: trial for trial in order.archive.trials}
        cost_of = {n: f"{phase_of(t, order.spec)} {cost_key(_params(t, order.spec))}" for n, t in trials.items()}
        found = feasible_points(order.archive, order.spec)
        points = chosen(found, order.spec.objective_metrics, cost_of, configurations)
        session.power = stack.enter_context(on_ray(order.spec, locations, report, leaving=session.leaving))
        probed, there, more = _probe(session, order, points, cost_of)
        document = _document(order, points, probed, there, [*notes, *more], locations.commands(study))
        _keep(session, document)
    return document


def _order(archive: StudyArchive, accelerator: str, source: str | None, probes: int) -> _Order:
    """Refuse what can't be carried, before anything is started."""
    name, types = archive.study.name, searched_types(archive)
    spec = spec_of(archive)
    if not types:
        raise InputError(
            f"study {name!r}: none of its trials tells the type of accelerator that it ran on: they ran on CPUs of no "
            "declared type, or before types were recorded. Name the type in resources.accelerator, and search under "
            "another name"
        )
    if accelerator in types:
        raise InputError(
            f"--accelerator: study {name!r} was searched on {accelerator!r} itself, so there is nothing to carry; "
            f"`front {name} --accelerator {accelerator}` shows its front"
        )
    if source is None and len(types) > 1:
        raise InputError(f"--from: study {name!r} was searched on {', '.join(types)}; name the one to carry from")
    if source is not None and source not in types:
        raise InputError(f"--from: study {name!r} was not searched on {source!r}, but on {', '.join(types)}")
    if spec.training is not None:
        raise InputError(
            f"transfer: {spec.training} is your own training, of which no single step can be probed; "
            f"`confirm {name} --accelerator {accelerator}` trains the front's points there"
        )
    mine = on_type_alone(archive, source or types[0])
    front = Front(mine)
    if not front.points:
        why = front.why_empty() or "no trial has ended an epoch yet"
        raise InputError(f"study {name!r}: its front is empty, so there is nothing to carry: {why}")
    return _Order(
        archive=mine,
        spec=spec_on(spec, accelerator),
        source=source or types[0],
        accelerator=accelerator,
        probes=probes,
    )


def _params(trial: TrialRecord, spec: StudySpec) -> dict[str, Plain]:
    return {**spec.fixed, **trial.params}


def _probe(
    session: Session, order: _Order, points: Sequence[EpochPoint], cost_of: Mapping[int, str]
) -> tuple[dict[Key, Probed], Mapping[str, Plain], list[str]]:
    """What each point's configuration costs there, the machine, and notes for the user."""
    trials = {trial.number: trial for trial in order.archive.trials}
    first_of = {cost_of[p.trial]: trials[p.trial] for p in reversed(points)}  # one stands for all of its cost
    probes: dict[str, list[Probe]] = {}
    there: Mapping[str, Plain] = {}
    notes: list[str] = []
    cards = {}
    for phase in dict.fromkeys(phase_of(trial, order.spec) for trial in first_of.values()):
        slots = phase_slots(order.spec.resources, phase, report=session.report)
        check_measurable(order.spec, slots.gpu_share)
        session.power.hold(slots.power_limit_w)
        checked = check(order.spec, replace(slots, count=1), cache_dir=session.locations.cache_dir)
        check_same_images(order.spec, order.archive.study.info, checked.info)
        there, cards = checked.info, dict(checked.cards)
        notes += [note for note in checked.notes if note not in notes]
        mine = {key: trial for key, trial in first_of.items() if phase_of(trial, order.spec) == phase}
        probes |= _in_rounds(session, order, checked, alone(slots), mine)
    probed = {}
    for point in points:
        of = probes[cost_of[point.trial]]
        late = late_changes(_params(trials[point.trial], order.spec), cards)
        if late and (note := _late(late, order)) not in notes:
            notes.append(note)
        failed = next((one.reason for one in of if one.reason is not None), None)
        epochs = _epochs(order.archive, point) if late else float(point.epoch)
        costs = [one.cost for one in of] if failed is None else []
        probed[point.trial, point.epoch] = Probed(costs=costs, reason=failed, epochs=epochs)
    if order.spec.resources.ranks > 1:
        notes.append("a probe is one rank with its share of the batch: what the ranks wait for each other is not in it")
    return probed, there, notes


def _late(names: Sequence[str], order: _Order) -> str:
    return (
        f"{' and '.join(names)} changes what a step costs after the first epoch, the only one that is probed: how its "
        f"epochs differ is taken from {order.source}"
    )


def _epochs(archive: StudyArchive, point: EpochPoint) -> float:
    """How many of its first epoch a training took, where it was searched."""
    times_s = {p.epoch: p.metrics.get("train_time_s") for p in archive.points if p.trial == point.trial}
    first_s, last_s = times_s.get(1), times_s.get(point.epoch)
    return last_s / first_s if first_s and last_s else float(point.epoch)


def _in_rounds(
    session: Session, order: _Order, checked: Checked, slots: Slots, trials: Mapping[str, TrialRecord]
) -> dict[str, list[Probe]]:
    """Every configuration once, then all once more, so that drift of the machine hits all alike; kept as costs."""
    found: dict[str, list[Probe]] = {key: [] for key in trials}
    for key, trial in trials.items():
        lacking = _lacking(checked.spec, _params(trial, order.spec))
        if lacking is not None:
            found[key] = [Probe(reason=f"{lacking}, which {order.accelerator} can't train")]
    left = [key for key in trials if not found[key]]
    many = f"{len(left)} configuration{'s' * (len(left) != 1)}"
    session.report(f"probing {many} on {order.accelerator}, {STEPS} steps each, {order.probes} times, each alone")
    began_s = time.monotonic()
    with Prober(checked.spec, slots, session.locations, context_mib=checked.info["context_mib"]) as prober:
        for number in range(1, order.probes + 1):
            for key in [key for key in left if all(one.reason is None for one in found[key])]:
                found[key].append(prober.probe(order.spec.configuration(trials[key].params).params()))
            rest_s = (time.monotonic() - began_s) / number * (order.probes - number)
            session.report(f"round {number} of {order.probes} is done" + (f", {rest_s:.0f} s to go" if rest_s else ""))
    setup = setup_of(checked.spec, checked.info)
    session.store.costs.keep(setup, [_known(_params(trials[key], order.spec), found[key]) for key in left])
    return found


def _known(params: Mapping[str, Plain], probes: Sequence[Probe]) -> KnownCost:
    reason = next((one.reason for one in probes if one.reason is not None), None)
    return KnownCost(params=params, cost=typical([one.cost for one in probes]), reason=reason)


def _lacking(spec: StudySpec, params: Mapping[str, Plain]) -> str | None:
    """A value that this hardware lacks, by the spec as it can search it."""
    for key in ("precision", "compile", "loader", "loader_workers"):
        if key in params and not spec.dimension(key).holds(params[key]):
            return f"{key} {params[key]}"
    return None


def _document(
    order: _Order,
    points: Sequence[EpochPoint],
    probed: Mapping[Key, Probed],
    there: Mapping[str, Plain],
    notes: Sequence[str],
    commands: NextCommands,
) -> dict[str, Plain]:
    """The predicted front, best in the last objective first, and below it the points that stood on the other."""
    front = Front(order.archive)
    before = {(p.trial, p.epoch) for p in front.points}
    rows = carried_rows(order.archive, order.spec, points, probed)
    last = order.spec.objectives[-1]
    rows.sort(key=lambda r: (not r.on_front, r.values[last].value if last in r.values else float("inf")))
    shown = [row for row in rows if row.on_front or (row.point.trial, row.point.epoch) in before]
    plain = [as_plain(r, front.params(r.point), was_on_front=(r.point.trial, r.point.epoch) in before) for r in shown]
    return {
        "study": order.archive.study.name,
        "from": order.source,
        "to": order.accelerator,
        "objectives": list(order.spec.objectives),
        "points": plain,
        "probes": order.probes,
        "allowance_pct": 100 * ALLOWANCE,
        "notes": list(notes),
        **machine_of(there),
        "next": {"confirm": commands.confirm_on(order.accelerator), "front": commands.front_on(order.accelerator)},
    }


def _keep(session: Session, document: Mapping[str, Plain]) -> None:
    """In the study, for `confirm` and `front`; and as a file, for MLflow."""
    store, study, there = session.store, session.study, str(document["to"])
    info = session.record.info
    store.update_study(study, info={**info, TRANSFERRED: {**info.get(TRANSFERRED, {}), there: dict(document)}})
    name = f"transfer-{re.sub(r'[^A-Za-z0-9._-]', '_', there)}.json"
    folder = session.locations.folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, json.dumps(document, indent=2) + "\n")
    store.deliveries.add_artifact(study, folder / name, name)
    session.begin_delivery()
    session.drain()
