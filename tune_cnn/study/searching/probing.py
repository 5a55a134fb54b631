"""Configurations probed as trials would run: in all slots at once, beside each other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tune_cnn.errors import first_line
from tune_cnn.records.costs import KnownCost
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.strategies import Cards
from tune_cnn.study.locations import Locations
from tune_cnn.study.searching.costs import typical
from tune_cnn.study.session.jobs import job_template
from tune_cnn.training.messages import Probe
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.cluster.remote import ActorPool, CallLost
from tune_cnn.untyped import Plain

log = logging.getLogger(__name__)

PROBE = "tune_cnn.training.inspection.probe:probe_job"
STEPS = 20

Params = Mapping[str, Plain]


class Prober:
    """A process for every rank of every slot. Each configuration is probed in all of them at the same time.

    Different ones at a time would take fewer rounds, and the slowest would be timed when the others have ended.
    """

    def __init__(
        self, spec: StudySpec, slots: Slots, locations: Locations, *, context_mib: float | None = None
    ) -> None:
        """`context_mib`: as `preflight.check` found it."""
        self._template = replace(job_template(spec, slots, locations), context_mib=context_mib)
        # The last rank has the fewest cores: so many times that fits wherever the trials do.
        self._pool = ActorPool(PROBE, slots.bundles[-1], slots.count * len(slots.bundles))

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.close()

    def probe(self, params: Params) -> Probe:
        job = replace(self._template, configuration=Configuration.from_params(params))
        return together([probe_of(answer) for answer in self._pool.call(job, steps=STEPS)])


def probe_of(answer: Probe | Exception) -> Probe:
    """What a process found, or what became of it."""
    if isinstance(answer, Probe):
        return answer
    if isinstance(answer, CallLost):
        return Probe(reason=str(answer), out_of_memory=answer.out_of_memory)
    log.debug("a probe ended its process", exc_info=answer)
    return Probe(reason=f"{type(answer).__name__}: {first_line(answer)}")


def together(probes: Sequence[Probe]) -> Probe:
    """Of one configuration, probed beside itself: its cost where most had one, else why most had none."""
    costs = [probe.cost for probe in probes if probe.reason is None]
    if len(costs) > len(probes) / 2:
        return Probe(cost=typical(costs))
    failed = [probe for probe in probes if probe.reason is not None]
    return max(failed, key=lambda probe: probe.out_of_memory)  # what else went wrong may have come of that


def late_changes(params: Params, cards: Cards) -> list[str]:
    """The strategies of a configuration that change its cost after the first epoch, the only one that is probed."""
    on = Configuration.from_params(params).strategies_on
    return [name for name in on if cards[name].changes_cost]


def to_keep(params: Params, probe: Probe, cards: Cards) -> KnownCost | None:
    """What a search may build upon: what fits, by its whole training, and what memory didn't hold.

    Anything else may go better the next time, so the next dry run tries it again.
    """
    if probe.out_of_memory:
        return KnownCost(params=params, cost=probe.cost, reason=probe.reason)
    if probe.reason is not None or late_changes(params, cards):
        return None
    return KnownCost(params=params, cost=probe.cost)
