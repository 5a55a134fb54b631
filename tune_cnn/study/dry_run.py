"""`search --dry-run`: check everything, probe some configurations, say what fits and how many trials an hour."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tune_cnn.errors import StudyError
from tune_cnn.records.costs import KnownCost
from tune_cnn.search.search import Search
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.costs import cost_key
from tune_cnn.spec.dimensions import largest, smallest
from tune_cnn.study.archive import open_store
from tune_cnn.study.costs import setup_of
from tune_cnn.study.interrupts import terminable
from tune_cnn.study.preflight import Checked, check
from tune_cnn.study.searching import Places, job_template, user_calls
from tune_cnn.trials.cluster import Slots, connected, fit
from tune_cnn.trials.remote import call_at_once

PROBE = "tune_cnn.training.probe:probe_jobs"
STEPS = 20
DRAWN = 6  # configurations drawn from the space, besides its smallest and largest batch

Params = Mapping[str, Any]


def dry_run(spec: StudySpec, places: Places, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Only the probed costs are kept. Raises what a search would raise before its first trial."""
    with (
        connected(places.address, code=spec.resources.code, calls=user_calls(spec), quiet=not places.debug),
        terminable(),
    ):
        phases = []
        for share in spec.resources.gpu_phases:
            slots = fit(spec.resources, share, say=say)
            checked = check(spec, slots, cache_dir=places.cache_dir)
            for note in checked.notes:
                say(note)
            drawn = [] if spec.training is not None else _configurations(checked)
            setup = setup_of(checked.spec, checked.info)
            known = _stored(setup, places)
            unknown = _one_of_each([params for params in drawn if cost_key(params) not in known])
            if unknown:
                say(f"probing {len(unknown)} configurations, {STEPS} steps each")
                probed = _probe(checked.spec, unknown, slots, places)
                _keep(setup, probed, places)
                known |= {cost_key(one.params): one for one in probed}
            rows = [_row(checked.spec, params, known[cost_key(params)]) for params in drawn]
            phases.append(
                {
                    "gpus_per_rank": slots.gpu_share,
                    "slots": slots.count,
                    "probes": rows,
                    "probed": len(unknown),
                    **_pace(rows, slots.count, spec),
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
        drawn += [{**drawn[0], "batch_size": end} for end in (smallest(batch), largest(batch))]
    return drawn


def _one_of_each(drawn: Sequence[Params]) -> list[Params]:
    """Of configurations that cost the same, the first."""
    return list({cost_key(params): params for params in reversed(drawn)}.values())[::-1]


def _probe(spec: StudySpec, drawn: Sequence[Params], slots: Slots, places: Places) -> list[KnownCost]:
    """Probe them on all slots at a time, as trials would run: beside each other."""
    template = job_template(spec, slots, places)
    jobs = [replace(template, configuration=Configuration.from_params(params)) for params in drawn]
    at_once = min(slots.count, len(jobs))
    shares = [jobs[slot::at_once] for slot in range(at_once)]
    answers = call_at_once(PROBE, slots.bundles[0], [(share,) for share in shares], steps=STEPS)
    probes: list[Any] = [None] * len(jobs)
    for slot, answer in enumerate(answers):
        probes[slot::at_once] = answer
    return [KnownCost(params=p, cost=probe.cost, reason=probe.reason) for p, probe in zip(drawn, probes, strict=True)]


def _stored(setup: Mapping[str, Any], places: Places) -> dict[str, KnownCost]:
    try:
        store = open_store(places.home)
    except StudyError:  # nothing has been searched or probed here yet
        return {}
    try:
        return store.costs.known(setup)
    finally:
        store.close()


def _keep(setup: Mapping[str, Any], probed: Sequence[KnownCost], places: Places) -> None:
    store = open_store(places.home, create=True)
    try:
        store.costs.keep(setup, probed)
    finally:
        store.close()


def _row(spec: StudySpec, params: Params, known: KnownCost) -> dict[str, Any]:
    configuration, cost = spec.configuration(params), known.cost
    step_s = cost.step_time_s
    return {
        "params": dict(params),
        "fits": known.reason is None,
        "reason": known.reason,
        "step_time_ms": None if step_s is None else step_s * 1000,
        "images_per_s": configuration.batch_size / step_s if step_s else None,
        "peak_memory_mib": cost.peak_memory_mib,
        "trial_s": cost.trial_s(configuration.horizon),
    }


def _pace(rows: Sequence[Mapping[str, Any]], slots: int, spec: StudySpec) -> dict[str, Any]:
    """Trials an hour by the mean of the drawn ones that fit, and how long the budget of trials would take."""
    fitting = [row["trial_s"] for row in rows if row["fits"]]
    times = [trial_s for trial_s in fitting if trial_s]
    if not times:
        return {"fit": len(fitting), "trials_per_hour": None, "budget_hours": spec.budget.hours}
    per_hour = slots * 3600 / (sum(times) / len(times))
    hours = spec.budget.trials / per_hour if spec.budget.trials is not None else None
    known = [h for h in (hours, spec.budget.hours) if h is not None]
    return {"fit": len(fitting), "trials_per_hour": per_hour, "budget_hours": min(known) if known else None}
