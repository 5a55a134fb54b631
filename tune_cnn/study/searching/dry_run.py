"""`search --dry-run`: check everything, probe some configurations, say what fits and how many trials an hour."""

from collections.abc import Mapping, Sequence
from contextlib import closing

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import StudyError
from tune_cnn.search.search import Search
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.costs import cost_key
from tune_cnn.study.archive import open_store
from tune_cnn.study.checks.preflight import Checked, check
from tune_cnn.study.locations import Locations
from tune_cnn.study.searching.costs import setup_of
from tune_cnn.study.searching.probing import STEPS, Params, Prober, late_changes, to_keep
from tune_cnn.study.searching.sharing import ProbeIn, compare
from tune_cnn.study.session.session import Report, on_ray
from tune_cnn.training.messages import Probe
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.untyped import Plain

S_PER_HOUR = 3600
DRAWN = 6  # configurations drawn from the space, besides its smallest and largest batch


@left_as_found()
def dry_run(spec: StudySpec, locations: Locations, *, report: Report) -> dict[str, Plain]:
    """Only the probed costs are kept. Raises what a search would raise before its first trial."""
    with on_ray(spec, locations, report) as power:
        phases = []
        for phase in spec.resources.phases:
            slots = phase_slots(spec.resources, phase, report=report)
            power.hold(slots.power_limit_w)
            checked = check(spec, slots, cache_dir=locations.cache_dir)
            for note in checked.notes:
                report(note)
            drawn = [] if spec.training is not None else _configurations(checked)
            known = _stored(setup_of(checked.spec, checked.info), locations)
            unknown = _one_of_each([params for params in drawn if cost_key(params) not in known])
            probed = _probe(checked, unknown, slots, locations, report) if unknown else {}
            notes = {key: _note(params, checked) for params in drawn if (key := cost_key(params)) in probed}
            probes = {**known, **probed}
            rows = [_row(checked.spec, p, probes[cost_key(p)], notes.get(cost_key(p))) for p in drawn]
            phases.append(
                {
                    "gpus_per_rank": slots.gpu_share,
                    "power_limit_w": slots.power_limit_w,
                    "accelerator": slots.accelerator,
                    "slots": slots.count,
                    "probes": rows,
                    "probed": len(unknown),
                    **_pace(rows, slots.count, spec),
                    "sharing": compare(checked.spec, slots, rows, _once_more(checked, locations, report)),
                }
            )
    return {
        "study": spec.study,
        "searched": list(spec.searched),
        "notes": list(checked.notes),
        "info": dict(checked.info),
        "phases": phases,
    }


def _configurations(checked: Checked) -> list[Params]:
    """Drawn ones, and the first of them with the smallest and the largest batch."""
    spec = checked.spec
    search = Search(spec, cards=checked.cards)
    drawn: list[Params] = [search.ask(number) for number in range(DRAWN if spec.searched else 1)]
    batch = spec.searched.get("batch_size")
    if batch is not None:
        drawn += [{**drawn[0], "batch_size": end} for end in (batch.smallest, batch.largest)]
    return drawn


def _one_of_each(drawn: Sequence[Params]) -> list[Params]:
    """Of configurations that cost the same, the first."""
    return list({cost_key(params): params for params in reversed(drawn)}.values())[::-1]


def _probe(
    checked: Checked, drawn: Sequence[Params], slots: Slots, locations: Locations, report: Report
) -> dict[str, Probe]:
    """Probe one after another, by `cost_key`; each is stored before the next begins."""
    many = f"{len(drawn)} configuration{'s' if len(drawn) > 1 else ''}"
    report(f"probing {many}, {STEPS} steps each" + (f", in all {slots.count} slots at once" if slots.count > 1 else ""))
    setup, probed = setup_of(checked.spec, checked.info), {}
    prober = Prober(checked.spec, slots, locations, context_mib=checked.info["context_mib"])
    with closing(open_store(locations.home, create=True)) as store, prober:
        for params in drawn:
            probed[cost_key(params)] = probe = prober.probe(params)
            known = to_keep(params, probe, checked.cards)
            store.costs.keep(setup, [known] if known is not None else [])
    return probed


def _once_more(checked: Checked, locations: Locations, report: Report) -> ProbeIn:
    """Probes a configuration in other slots than those of the phase; what it costs there is not kept."""

    def probe(params: Params, slots: Slots) -> Probe:
        report(f"probing one configuration once more, in {slots.count} slots, {slots.slots_per_gpu} on a GPU")
        with Prober(checked.spec, slots, locations, context_mib=checked.info["context_mib"]) as prober:
            return prober.probe(params)

    return probe


def _stored(setup: Mapping[str, Plain], locations: Locations) -> dict[str, Probe]:
    try:
        store = open_store(locations.home)
    except StudyError:  # nothing has been searched or probed here yet
        return {}
    with closing(store):
        known = store.costs.known(setup)
    return {key: Probe(cost=k.cost, reason=k.reason, out_of_memory=k.reason is not None) for key, k in known.items()}


def _note(params: Params, checked: Checked) -> str | None:
    late = late_changes(params, checked.cards)
    return f"measured before {' and '.join(late)} changes what a step costs" if late else None


def _row(spec: StudySpec, params: Params, probe: Probe, note: str | None) -> dict[str, Plain]:
    """`fits` is None where it isn't known: something else went wrong."""
    configuration, cost = spec.configuration(params), probe.cost
    step_s, trial_s = cost.step_time_s, cost.trial_s(configuration.horizon)
    note = "; ".join(filter(None, [note, beyond_budget(configuration, trial_s, spec.budget.hours)])) or None
    return {
        "params": dict(params),
        "fits": probe.reason is None if probe.reason is None or probe.out_of_memory else None,
        "reason": probe.reason,
        "note": note if probe.reason is None else None,
        "step_time_ms": None if step_s is None else step_s * 1000,
        "images_per_s": configuration.batch_size / step_s if step_s else None,
        "peak_memory_mib": cost.peak_memory_mib,
        "trial_s": trial_s,
    }


def beyond_budget(configuration: Configuration, trial_s: float | None, hours: float | None) -> str | None:
    """What is to be said of a trial that would take longer than the whole search may; None where nothing is."""
    if trial_s is None or hours is None or trial_s <= hours * S_PER_HOUR:
        return None
    trainings = configuration.trainings
    many = f"its {trainings} trainings take" if trainings > 1 else "it takes"
    lower = "strategies.lottery_ticket.levels" if trainings > 1 else "epochs"
    return f"{many} {trial_s / S_PER_HOUR:.2g} h, more than budget.hours={hours:g}; lower {lower}"


def _pace(rows: Sequence[Mapping[str, Plain]], slots: int, spec: StudySpec) -> dict[str, Plain]:
    """Trials an hour by the mean of the drawn ones that fit, and how long the budget of trials would take."""
    fitting = [row["trial_s"] for row in rows if row["fits"]]
    times = [trial_s for trial_s in fitting if trial_s]
    if not times:
        return {"fit": len(fitting), "trials_per_hour": None, "budget_hours": spec.budget.hours}
    per_hour = slots * S_PER_HOUR / (sum(times) / len(times))
    hours = spec.budget.trials / per_hour if spec.budget.trials is not None else None
    known = [h for h in (hours, spec.budget.hours) if h is not None]
    return {"fit": len(fitting), "trials_per_hour": per_hour, "budget_hours": min(known) if known else None}
