"""How long a comparison's runs take: each configuration that costs another step is probed once, alone."""

from collections.abc import Sequence
from dataclasses import replace

from tune_cnn.spec.costs import Cost, cost_key
from tune_cnn.study.comparing.cells import changed
from tune_cnn.study.comparing.plan import AS_LONG_AS
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.study.searching.probing import STEPS, Prober

START_S = 10.0  # of a process: torch, the images, the checks; seen on two cores


def seconds_of(here: Here, runs: Sequence[Run]) -> float | None:
    """One at a time; None where a configuration can't be probed: the user's own training, or one that doesn't fit."""
    runs = [_as_long_as(run) for run in runs]
    specs = {repr(run.extra["changes"]): changed(here.spec, run.extra["changes"]) for run in runs}
    if any(spec.training is not None for spec in specs.values()):
        return None
    wanted: dict[tuple[str, str], Run] = {}
    for run in runs:
        wanted.setdefault(_key(here, run), run)
    here.session.report(f"probing {len(wanted)} configuration{'s' * (len(wanted) > 1)}, {STEPS} steps each")
    costs: dict[tuple[str, str], Cost] = {}
    for changes, spec in specs.items():
        slots, mib = replace(here.slots, count=1), here.checked.info["context_mib"]
        with Prober(spec, slots, here.session.locations, context_mib=mib) as prober:
            for key, run in wanted.items():
                if key[0] == changes:
                    costs[key] = prober.probe(spec.configuration(run.params).params()).cost
    total_s = 0.0
    for run in runs:
        horizon = specs[repr(run.extra["changes"])].configuration(run.params).horizon
        trial_s = costs[_key(here, run)].trial_s(run.extra.get("stop_epoch") or horizon)
        if trial_s is None:
            return None
        total_s += trial_s + START_S
    return total_s


def _as_long_as(run: Run) -> Run:
    """The run by which one is reckoned whose epochs nobody knows yet."""
    like = run.extra.get(AS_LONG_AS)
    return run if like is None else replace(run, params=like["params"], extra={**run.extra, "changes": like["changes"]})


def _key(here: Here, run: Run) -> tuple[str, str]:
    return repr(run.extra["changes"]), cost_key({**here.spec.fixed, **run.params})
