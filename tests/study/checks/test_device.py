"""The GPU that was found is held against the spec before the first trial."""

from dataclasses import replace
from typing import Any

import pytest

from study.made_up import SPEC, spec_with
from study.searching.test_costs_known import INSPECTION
from tune_cnn.errors import ResourceError, SpecError
from tune_cnn.study.checks.adapting import adapt
from tune_cnn.study.checks.device import check_device
from tune_cnn.training.messages import DeviceFound
from tune_cnn.trials.cluster.machines import Slots, slots_on_a_gpu

CARD = DeviceFound(name="NVIDIA X", total_mib=8000.0, context_mib=500.0)


def checked(share: float = 1.0, phases: Any = None, *, objectives: Any = None, **found: Any) -> list[str]:
    spec = spec_with(
        resources={"gpus_per_rank": phases if phases is not None else share},
        **({"objectives": objectives} if objectives else {}),
    )
    slots = Slots(count=1, bundles=({"CPU": 1.0},), gpu_share=share, slots_per_gpu=slots_on_a_gpu(share))
    return check_device(spec, slots, replace(CARD, **found))


def test_a_good_card_is_passed_over_in_silence():
    assert checked() == checked(0.5) == []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"compute_mode": "prohibited"}, "NVIDIA X takes no computing"),
        ({"share": 0.25, "compute_mode": "exclusive"}, "0.25 puts 4 processes on NVIDIA X, which is in exclusive"),
        ({"phases": [1.0, 0.5], "compute_mode": "exclusive"}, "0.5 puts 2 processes on NVIDIA X"),
        (
            {"share": 0.05},
            "0.05 puts 20 processes on NVIDIA X, whose contexts alone take 20 times 500 MiB of its 8,000",
        ),
        ({"share": 0.05, "context_mib": None}, "20 times 600 MiB"),
        ({"phases": [1.0, 0.05]}, "0.05 puts 20 processes"),
    ],
)
def test_a_card_that_cannot_hold_the_shares_is_refused(asked, told):
    """Its mode, and the memory that is left beside the contexts; of every phase, at the first."""
    with pytest.raises(ResourceError, match=told):
        checked(**asked)


@pytest.mark.parametrize("asked", [{"share": 1.0}, {"share": 0.6}, {"share": 1.0, "has_mps": True}])
def test_one_process_on_an_exclusive_card_is_right(asked):
    assert checked(compute_mode="exclusive", **asked) == []


def test_several_processes_are_one_to_the_card_where_mps_runs():
    """Said, with what each has of the card."""
    (note,) = checked(0.25, compute_mode="exclusive", has_mps=True)
    assert note == ("NVIDIA's MPS daemon runs: 4 trials compute on NVIDIA X at the same time, each on 25% of its SMs")


@pytest.mark.parametrize("name", ["sm_active_pct", "gpu_energy_j", "gpu_util_pct"])
def test_an_objective_that_the_card_cannot_give_is_named(name):
    """Every trial would fail for want of it."""
    with pytest.raises(ResourceError, match=f"objectives: {name} can't be measured on NVIDIA X: it is old; choose"):
        checked(objectives=["accuracy", name], unmeasured={name: "it is old"})


def test_a_constraint_that_the_card_cannot_give_is_named_too():
    spec = spec_with(resources={"gpus_per_rank": 1}, constraints={"gpu_energy_j": {"max": 10}})
    slots = Slots(count=1, bundles=({"CPU": 1.0},), gpu_share=1.0, slots_per_gpu=1)
    with pytest.raises(ResourceError, match="constraints: gpu_energy_j can't be measured"):
        check_device(spec, slots, replace(CARD, unmeasured={"gpu_energy_j": "it is virtual"}))


@pytest.mark.parametrize(
    ("name", "prices", "refused"),
    [
        ("cost", {"per_kwh": 0.3}, True),
        ("carbon_g", {"carbon_g_per_kwh": 400.0}, True),
        ("cost", {"per_gpu_hour": 2.0}, False),
    ],
)
def test_what_is_reckoned_from_an_energy_that_the_card_cannot_give_is_named(name, prices, refused):
    """By hours alone a cost needs none."""
    spec = spec_with(resources={"gpus_per_rank": 1}, objectives=["accuracy", name], prices=prices)
    slots = Slots(count=1, bundles=({"CPU": 1.0},), gpu_share=1.0, slots_per_gpu=1)
    card = replace(CARD, unmeasured={"gpu_energy_j": "it is virtual"})
    if refused:
        with pytest.raises(ResourceError, match=f"{name} is reckoned from gpu_energy_j, which can't be measured on"):
            check_device(spec, slots, card)
    else:
        check_device(spec, slots, card)


def test_what_is_absent_or_shared_is_said_once():
    """What no trial will have, by its reason; of a share nothing would be measured anyway."""
    missing = {"sm_active_pct": "it is old", "gpu_energy_j": "it is old"}
    assert checked(unmeasured=missing) == ["NVIDIA X gives no sm_active_pct, gpu_energy_j: it is old"]
    assert checked(0.5, unmeasured=missing) == []
    (note,) = checked(others="900 MiB of it are held by a display")
    assert note.startswith("NVIDIA X: 900 MiB of it are held by a display before any trial")


def test_compiling_that_cannot_work_is_left_out_of_a_list_and_refused_alone():
    inspection = replace(INSPECTION, device=DeviceFound(without_compile="it needs a C compiler"))
    adapted, notes = adapt(spec_with(space={**SPEC["space"], "compile": [True, False]}), inspection, cuda=False)
    assert adapted.dimension("compile").values == (False,) and notes == ["compile is left out: it needs a C compiler"]
    with pytest.raises(SpecError, match=r"space.compile: torch.compile can't work here: it needs a C compiler"):
        adapt(spec_with(space={**SPEC["space"], "compile": True}), inspection, cuda=False)
