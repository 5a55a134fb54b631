"""`search --dry-run`: check everything, probe some configurations, say what fits and how many trials an hour."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from tune_cnn.search.search import Search
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.dimensions import largest, smallest
from tune_cnn.study.interrupts import terminable
from tune_cnn.study.preflight import check
from tune_cnn.study.searching import Places, job_template, user_calls
from tune_cnn.trials.cluster import connected, fit
from tune_cnn.trials.remote import call_on_node

PROBE = "tune_cnn.training.probe:probe_jobs"
STEPS = 20
DRAWN = 6  # configurations drawn from the space, besides its smallest and largest batch


def dry_run(spec: StudySpec, places: Places, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Nothing is stored. Raises what a search would raise before its first trial."""
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
            drawn = [] if spec.training is not None else _configurations(checked.spec)
            if drawn:
                say(f"probing {len(drawn)} configurations, {STEPS} steps each")
            template = job_template(checked.spec, slots, places)
            jobs = [replace(template, configuration=Configuration.from_params(params)) for params in drawn]
            probes = call_on_node(PROBE, slots.bundles[0], jobs, steps=STEPS) if jobs else []
            phases.append(
                {
                    "gpus_per_rank": slots.gpu_share,
                    "slots": slots.count,
                    "probes": [{"params": p, **asdict(probe)} for p, probe in zip(drawn, probes, strict=True)],
                    **_pace(probes, slots.count, spec),
                }
            )
    return {
        "study": spec.study,
        "searched": list(spec.searched),
        "notes": list(checked.notes),
        "info": dict(checked.info),
        "phases": phases,
    }


def _configurations(spec: StudySpec) -> list[Mapping[str, Any]]:
    search = Search(spec)
    drawn: list[Mapping[str, Any]] = [search.ask(number) for number in range(DRAWN if spec.searched else 1)]
    batch = spec.searched.get("batch_size")
    if batch is not None:
        drawn += [{**drawn[0], "batch_size": end} for end in (smallest(batch), largest(batch))]
    return drawn


def _pace(probes: Sequence[Any], slots: int, spec: StudySpec) -> dict[str, Any]:
    """Trials an hour by the mean of the drawn ones that fit, and how long the budget of trials would take."""
    times = [probe.trial_s for probe in probes if probe.fits]
    if not times:
        return {"fit": 0, "trials_per_hour": None, "budget_hours": spec.budget.hours}
    per_hour = slots * 3600 / (sum(times) / len(times))
    hours = spec.budget.trials / per_hour if spec.budget.trials is not None else None
    known = [h for h in (hours, spec.budget.hours) if h is not None]
    return {"fit": len(times), "trials_per_hour": per_hour, "budget_hours": min(known) if known else None}
