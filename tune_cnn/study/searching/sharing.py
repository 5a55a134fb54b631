"""Whether trials should share a GPU: one configuration probed alone on it, and beside itself in several slots."""

from collections.abc import Callable, Mapping, Sequence

from tune_cnn.errors import ResourceError
from tune_cnn.spec import StudySpec
from tune_cnn.study.checks.preflight import check_measurable
from tune_cnn.training.messages import Probe
from tune_cnn.trials.cluster.machines import Slots, fit
from tune_cnn.untyped import Plain

TOGETHER = (4, 2)  # trials on a GPU that are tried: the first for which there are cores

Row = Mapping[str, Plain]
ProbeIn = Callable[[Mapping[str, Plain], Slots], Probe]  # a configuration, in all of these slots at once


def compare(spec: StudySpec, alone: Slots, rows: Sequence[Row], probe: ProbeIn) -> dict[str, Plain] | None:
    """What sharing gives where the spec leaves it open: trials an hour, and how long each takes; None where it can't
    be, or the spec has decided.

    `rows`: of configurations probed alone, as the dry run tells them. One of the middle is probed again.
    """
    timed = sorted((row for row in rows if row["fits"] and row["trial_s"]), key=lambda row: float(row["trial_s"]))
    shared = shared_slots(spec, alone) if timed else None
    if shared is None:
        return None
    row = timed[len(timed) // 2]
    found = probe(row["params"], shared)
    told: dict[str, Plain] = {
        "params": dict(row["params"]),
        "gpus_per_rank": shared.gpu_share,
        "slots": shared.count,
        "reason": found.reason,
        "alone": _pace(float(row["trial_s"]), alone),
        "shared": None,
    }
    trial_s = found.cost.trial_s(spec.configuration(row["params"]).horizon)
    return {**told, "shared": _pace(trial_s, shared)} if trial_s and found.reason is None else told


def shared_slots(spec: StudySpec, alone: Slots) -> Slots | None:
    """The slots of trials that share GPUs; None where the spec has decided, or no more would run than alone."""
    if spec.resources.gpus_per_rank is not None or spec.resources.ranks > 1 or alone.gpu_share != 1:
        return None
    for count in TOGETHER:
        try:
            check_measurable(spec, 1 / count)
        except ResourceError:  # an objective that is a whole GPU's
            return None
        slots = fit(spec.resources, 1 / count, power_limit_w=alone.power_limit_w, accelerator=alone.accelerator)
        if slots.count >= count * alone.count:
            return slots
    return None


def _pace(trial_s: float, slots: Slots) -> dict[str, float]:
    return {"trial_s": trial_s, "trials_per_hour": slots.count * 3600 / trial_s}
