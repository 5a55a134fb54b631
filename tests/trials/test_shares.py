"""How trials share GPUs: declared ones here, scheduled by Ray as real ones are."""

import os

import pytest
from scripted_drivers import Script, payload, trial

from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.training.process.mps import PIPES, SM_SHARE_PCT
from tune_cnn.trials.cluster import machines as connected
from tune_cnn.trials.cluster.machines import fit, phase_slots
from tune_cnn.trials.trainable import WarmTrial
from tune_cnn.trials.tune_loop import run_trials


def test_four_quarters_train_on_one_gpu_and_the_fifth_waits(one_ray):
    slots = fit(Resources(gpus_per_rank=0.25), 0.25)
    assert (slots.count, slots.slots_per_gpu) == (4, 4)
    script = Script([trial(epochs=1, seconds=0.4) for _ in range(5)])
    run_trials(script, payload(gpu_share=0.25), slots)
    first, fifth = script.points[:4], script.of(4)[0]
    assert max(point.metrics["began"] for point in first) < min(point.metrics["ended"] for point in first)
    assert {point.metrics["cotenants"] for point in first} == {3.0}
    assert fifth.metrics["began"] > min(point.metrics["ended"] for point in first)
    assert fifth.pid in {point.pid for point in first}


@pytest.mark.parametrize(("share", "told"), [(0.25, "25"), (1.0, None)])
def test_a_slots_process_has_its_share_of_the_sms_where_mps_runs(tmp_path, monkeypatch, share, told):
    """From its set-up on, as CUDA reads it when it starts in the process."""
    (tmp_path / "control").touch()
    monkeypatch.setenv(PIPES, str(tmp_path))
    monkeypatch.delenv(SM_SHARE_PCT, raising=False)
    monkeypatch.setattr("tune_cnn.trials.trainable.Beats", lambda *args, **kwargs: None)  # no coordinator is here
    slot = WarmTrial.__new__(WarmTrial)
    slot.setup({}, payload(gpu_share=share))
    assert os.environ.pop(SM_SHARE_PCT, None) == told


def test_shares_are_searched_one_after_another(one_ray):
    """Phases of one fraction each, in a fresh Tuner and on the same Ray."""
    seen = []
    for share in (0.25, 1.0):
        slots = fit(Resources(gpus_per_rank=[0.25, 1.0]), share)
        script = Script([trial(epochs=2, seconds=0.1) for _ in range(5)])
        run_trials(script, payload(gpu_share=share), slots, at_most=5)
        assert script.states() == ["complete"] * 5
        seen.append((slots.count, max(map(script.side_by_side, script.points))))
    assert seen == [(4, 4), (1, 1)]


def node(cpus: float = 8, gpus: float = 0, kind: str | None = None) -> dict[str, float]:
    found = {"CPU": float(cpus)}
    if gpus:
        found["GPU"] = float(gpus)
    if kind:
        found[f"accelerator_type:{kind}"] = 1.0
    return found


@pytest.fixture
def machines(monkeypatch):
    """Nodes as Ray lists them; no autoscaler behind them."""

    def are(*nodes: dict[str, float]) -> None:
        monkeypatch.setattr(connected, "nodes", lambda: list(nodes))
        monkeypatch.setattr(connected, "autoscales", lambda: False)

    return are


@pytest.mark.parametrize(
    ("nodes", "resources", "share", "count"),
    [
        ([node(8)], {}, None, 8),
        ([node(8)], {"cpus_per_trial": 3}, None, 2),
        ([node(8), node(4)], {"cpus_per_trial": 3}, None, 3),
        ([node(8)], {"slots": 2}, None, 2),
        ([node(8, gpus=2)], {}, None, 2),
        ([node(8, gpus=2)], {}, 0.0, 8),
        ([node(8, gpus=2)], {}, 0.25, 8),
        ([node(8, gpus=2)], {}, 0.3, 6),
        ([node(8, gpus=1)], {}, 0.1, 8),
        ([node(8, gpus=2)], {"cpus_per_trial": 3}, 0.25, 2),
        ([node(8, gpus=2), node(8)], {}, 1.0, 2),
        ([node(8, gpus=4)], {"ranks": 2, "cpus_per_trial": 2}, 1.0, 2),
        ([node(8, gpus=1), node(8, gpus=1)], {"ranks": 2, "cpus_per_trial": 2}, 1.0, 1),
        ([node(8, gpus=3)], {"ranks": 2, "cpus_per_trial": 2}, 1.0, 1),
        ([node(4)], {"ranks": 2, "cpus_per_trial": 3}, None, 1),
        ([node(8, 2, "A100"), node(8, 4, "H100")], {"accelerator": "A100"}, 1.0, 2),
        ([node(8, 2, "A100"), node(8, 4, "H100")], {}, 0.0, 16),
    ],
)
def test_trials_at_a_time(machines, nodes, resources, share, count):
    machines(*nodes)
    assert fit(Resources(**resources), share).count == count


def test_a_third_goes_three_times_into_a_gpu(machines):
    """0.1 × 10 and 0.3 × 3: a share's slots are whole, whatever floats make of them."""
    machines(node(16, gpus=1))
    assert [fit(Resources(), share).slots_per_gpu for share in (0.1, 0.2, 0.25, 0.3, 0.5, 1.0)] == [10, 5, 4, 3, 2, 1]


def test_cores_that_do_not_divide_go_to_the_first_ranks(machines):
    machines(node(8))
    assert fit(Resources(ranks=2, cpus_per_trial=3), None).bundles == ({"CPU": 2.0}, {"CPU": 1.0})


def test_a_named_accelerator_is_asked_for(machines):
    machines(node(8, 2, "A100"))
    (bundle,) = fit(Resources(accelerator="A100"), 1.0).bundles
    assert bundle == {"CPU": 1.0, "GPU": 1.0, "accelerator_type:A100": 0.001}


def test_mixed_accelerators_are_refused(machines):
    machines(node(8, 2, "A100"), node(8, 4, "H100"))
    with pytest.raises(ResourceError, match=r"mixes A100, H100, whose times do not compare; name the one .* or a list"):
        fit(Resources(), 1.0)


def test_an_accelerator_that_is_not_there_is_refused(machines):
    machines(node(8, 2, "A100"))
    with pytest.raises(ResourceError, match=r"resources.accelerator: 'H100' is not in the cluster, which has A100"):
        fit(Resources(accelerator="H100"), 1.0)


@pytest.mark.parametrize("gpus", [0, 2])
def test_each_phase_of_several_types_is_on_nodes_of_its_own(machines, gpus):
    """On nodes of CPUs too, where they declare a type; what a phase has are the slots of its own nodes."""
    machines(node(8, gpus, "A"), node(4, gpus, "B"), node(2, gpus, "B"))
    resources = Resources(accelerator=["A", "B"], cpus_per_trial=2, gpus_per_rank=0)
    found = [phase_slots(resources, phase) for phase in resources.phases]
    assert [(slots.accelerator, slots.count, slots.nodes) for slots in found] == [("A", 4, 1), ("B", 3, 2)]
    assert found[1].bundles == ({"CPU": 2.0, "accelerator_type:B": 0.001},)


def test_the_only_type_is_known_unnamed(machines):
    """Each point carries it; a trial on CPUs has none."""
    machines(node(8, 2, "A100"))
    assert fit(Resources(), 1.0).accelerator == "A100"
    assert fit(Resources(), 0.0).accelerator is None


def test_a_type_where_no_node_tells_one(machines):
    machines(node(8))
    with pytest.raises(ResourceError, match=r"'B' is not .* whose nodes tell no type; .*accelerator_type:B"):
        fit(Resources(accelerator="B"), 0.0)


@pytest.mark.parametrize(
    ("resources", "share", "asked"),
    [
        ({"cpus_per_trial": 9}, None, "9 CPUs and 1 GPUs"),
        ({"ranks": 3, "cpus_per_trial": 3}, 1.0, r"3 CPUs and 3 GPUs \(3 rank"),
    ],
)
def test_what_never_fits_is_refused_with_what_is_there(machines, resources, share, asked):
    machines(node(8, gpus=2))
    with pytest.raises(ResourceError, match=f"asks for {asked}.*the nodes have: 8 CPUs and 2 GPUs"):
        fit(Resources(**resources), share)


def test_a_limit_of_power_needs_a_gpu(machines):
    """Told before anything starts; with one, the slots carry it."""
    limited = Resources(power_limit_w=[200, 250])
    machines(node(8))
    with pytest.raises(ResourceError, match=r"power_limit_w: trials have no GPU whose power could be limited; leave"):
        phase_slots(limited, limited.phases[0])
    machines(node(8, gpus=2))
    found = [phase_slots(limited, phase) for phase in limited.phases]
    assert [(slots.count, slots.power_limit_w) for slots in found] == [(2, 200.0), (2, 250.0)]


def test_gpus_on_a_machine_without_are_refused(machines):
    machines(node(8))
    with pytest.raises(ResourceError, match=r"asks for 1 CPUs and 1 GPUs.*the nodes have: 8 CPUs and 0 GPUs"):
        fit(Resources(), 1.0)


@pytest.mark.parametrize(
    ("nodes", "ranks", "count", "packed"),
    [
        ([node(8, gpus=3), node(8, gpus=3)], 2, 2, True),
        ([node(8, gpus=2), node(8, gpus=1), node(8, gpus=1)], 2, 1, True),
        ([node(8, gpus=1), node(8, gpus=1)], 2, 1, False),
        ([node(8, gpus=4), node(8, gpus=4)], 8, 1, False),
        ([node(1, gpus=2), node(8, gpus=2)], 2, 1, True),
        ([node(1, gpus=2), node(1, gpus=2)], 2, 1, False),
        ([node(8, gpus=1), node(8, gpus=1)], 1, 2, True),
    ],
)
def test_trials_are_all_on_one_node_each_or_all_spread(machines, nodes, ranks, count, packed):
    """Their times don't compare, so cards rather stay idle than go to a trial that spreads; said where all do."""
    machines(*nodes)
    said: list[str] = []
    slots = fit(Resources(ranks=ranks, cpus_per_trial=ranks), 1.0, report=said.append)
    assert (slots.count, slots.packed) == (count, packed)
    assert slots.strategy == ("STRICT_PACK" if packed else "PACK")
    assert [f"no node holds the {ranks} ranks of a trial" in line for line in said] == [True] * (not packed)
