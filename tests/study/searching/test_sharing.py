"""The dry run says whether trials should share a GPU, by one configuration in both ways; machines are made up."""

from collections.abc import Callable
from typing import Any

import pytest

from study.made_up import SPEC, spec_with
from tune_cnn.reports.terminal.dry_run import sharing
from tune_cnn.spec.costs import Cost
from tune_cnn.study.searching.sharing import compare
from tune_cnn.training.messages import Probe
from tune_cnn.trials.cluster import machines
from tune_cnn.trials.cluster.machines import Slots, fit

PARAMS = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1}
ROWS = [{"params": {**PARAMS, "batch_size": b}, "fits": True, "trial_s": s} for b, s in ((64, 8.0), (128, 6.0))]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def has(cpus: float, gpus: float) -> None:
        monkeypatch.setattr(machines, "nodes", lambda: [{"CPU": cpus, "GPU": gpus}])
        monkeypatch.setattr(machines, "autoscales", lambda: False)

    return has


def compared(probe: Probe, rows: Any = ROWS, **changes: Any) -> tuple[Any, list[Slots]]:
    """What is told, and the slots in which something was probed."""
    spec, probed = spec_with(**changes), []

    def probe_in(params: Any, slots: Slots) -> Probe:
        probed.append(slots)
        return probe

    alone = fit(spec.resources, spec.resources.phases[0].gpus_per_rank)
    return compare(spec, alone, rows, probe_in), probed


def slower(epoch_s: float) -> Probe:
    return Probe(cost=Cost(step_time_s=epoch_s, steps_per_epoch=1.0))


@pytest.mark.parametrize(
    ("epoch_s", "gain", "advice"), [(5.0, 3.2, "set gpus_per_rank: 0.25"), (20.0, 0.8, "leave them a GPU each")]
)
def test_both_ways_are_told_with_what_to_do(machine, epoch_s, gain, advice):
    """A configuration of the middle: 8 s alone, two epochs shared by four."""
    machine(8, 1)
    found, (slots,) = compared(slower(epoch_s))
    assert (slots.count, slots.gpu_share, found["params"]["batch_size"]) == (4, 0.25, 64)
    assert found["alone"]["trials_per_hour"] == pytest.approx(450)
    assert found["shared"] == pytest.approx({"trial_s": 2 * epoch_s, "trials_per_hour": 450 * gain})
    told, longer = sharing(found), f"{2 * epoch_s / 8:.2g}"
    assert f"({gain} times as many), each of which takes {longer} times as long: {advice}" in told


def test_as_many_share_as_there_are_cores_for(machine):
    machine(5, 2)
    found, (slots,) = compared(slower(5.0))
    assert (found["gpus_per_rank"], slots.count) == (0.5, 4)


@pytest.mark.parametrize(
    ("cores", "changes"),
    [
        (1, {}),
        (8, {"resources": {"gpus_per_rank": 1}}),
        (8, {"resources": {"slots": 1}}),
        (8, {"resources": {"ranks": 2, "cpus_per_trial": 2}, "space": {**SPEC["space"], "batch_size": 64}}),
        (8, {"objectives": ["accuracy", "gpu_energy_j"]}),
        (8, {"rows": [{**ROWS[0], "fits": False}]}),
        (8, {"rows": []}),
    ],
)
def test_nothing_is_probed_where_sharing_is_no_question(machine, cores, changes):
    """No cores for more, decided by the spec, several ranks, a whole GPU's objective, nothing that fits."""
    machine(cores, 2)
    assert compared(slower(5.0), **changes) == (None, [])


def test_why_it_could_not_share_is_told(machine):
    """As in exclusive compute mode, or for want of memory."""
    machine(8, 1)
    found, _ = compared(Probe(reason="out of memory: 9 GiB", out_of_memory=True))
    assert sharing(found) == "With gpus_per_rank: 0.25 one configuration did not train: out of memory: 9 GiB"
