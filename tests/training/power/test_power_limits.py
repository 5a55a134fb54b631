"""A GPU's power limit is held for a phase and restored whatever happens; NVML alone is made up."""

import json
import os
from pathlib import Path

import pynvml
import pytest
from nvml_in_a_file import NvmlInAFile, gpu

from tune_cnn.errors import ResourceError, TrialError
from tune_cnn.training.power.holding import PowerHolder, check_power_limit, restore_left
from tune_cnn.training.power.records import Record, state_folder


@pytest.fixture
def node(tmp_path, monkeypatch) -> NvmlInAFile:
    """A node of two GPUs at 300 W, which this user may change."""
    found = NvmlInAFile(tmp_path / "nvml.json")
    found.write(gpu(0), gpu(1))
    for name, function in found.functions().items():
        monkeypatch.setattr(pynvml, name, function)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return found


def holder() -> PowerHolder:
    return PowerHolder(patience_s=0.0)


def left_by_a_killed_search(node: NvmlInAFile, watts: float = 200.0) -> None:
    """As kill -9 leaves it: the limit, the record, and a lock that nobody holds."""
    record = Record.taken(state_folder(), "GPU-00000000", patience_s=0.0)
    assert record is not None
    record.keep(300_000)
    record.free()
    pynvml.nvmlDeviceSetPowerManagementLimit(0, round(watts * 1000))


def records() -> list[str]:
    return sorted(path.name for path in state_folder().glob("*.json"))


def test_each_phase_has_its_limit_and_the_end_what_was(node):
    """All GPUs of the node; in the file stands what was before the first phase, not between them."""
    power = holder()
    for watts in (200.0, 250.0, 150.0):
        power.hold(watts, [200.0, 250.0, 150.0])
        assert node.limits_w() == [watts, watts]
        assert json.loads((state_folder() / records()[0]).read_text())["limit_mw"] == 300_000
    power.release()
    assert node.limits_w() == [300.0, 300.0]
    assert records() == []


def test_the_limit_is_written_down_before_it_is_changed(node, monkeypatch):
    """Killed at any moment, what was is known: here while NVML sets it."""
    told = []
    set_limit = pynvml.nvmlDeviceSetPowerManagementLimit
    monkeypatch.setattr(
        pynvml,
        "nvmlDeviceSetPowerManagementLimit",
        lambda handle, mw: (told.append(records()), set_limit(handle, mw)),
    )
    holder().hold(200.0, [200.0])
    assert told == [["GPU-00000000.json"], ["GPU-00000000.json", "GPU-00000001.json"]]


def test_what_a_killed_search_left_is_restored_at_the_next_start(node):
    """Once, with a line that says so; a start without anything left says nothing and needs no NVML."""
    left_by_a_killed_search(node)
    (line,) = restore_left(patience_s=0.0)
    assert "a search that was killed had left GPU-00000000" in line and "at 200 W: it has 300 W again" in line
    assert node.limits_w() == [300.0, 300.0] and records() == []
    node.path.unlink()
    assert restore_left(patience_s=0.0) == []


def test_a_killed_search_that_is_not_restored_first_does_not_lose_what_was(node):
    """The record is not written over with the limit that was left."""
    left_by_a_killed_search(node)
    power = holder()
    power.hold(150.0, [150.0])
    power.release()
    assert node.limits_w() == [300.0, 300.0]


def test_a_limit_that_a_living_search_holds_is_left_alone(node):
    """And said, as times measured beside it are for that limit."""
    power = holder()
    power.hold(200.0, [200.0])
    lines = restore_left(patience_s=0.0)
    assert len(lines) == 2 and "another search holds GPU-00000000" in lines[0] and "at 200 W" in lines[0]
    assert node.limits_w() == [200.0, 200.0]
    with pytest.raises(ResourceError, match=r"another search holds the power limit of GPU-00000000.*wait for"):
        holder().hold(250.0, [250.0])
    assert node.limits_w() == [200.0, 200.0]
    power.release()


def test_records_of_other_nodes_are_left_to_them(node):
    """Homes may be shared: this node's NVML doesn't know their GPUs."""
    left_by_a_killed_search(node)
    other = state_folder() / "GPU-99999999.json"
    other.write_text(json.dumps({"uuid": "GPU-99999999", "limit_mw": 400_000}))
    assert len(restore_left(patience_s=0.0)) == 1
    assert records() == [other.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"limit_mw": "much"}'])
def test_a_record_that_tells_nothing_is_named_and_kept(node, content, caplog):
    """It was spoilt by another program: ours appears whole or not at all."""
    left_by_a_killed_search(node)
    (state_folder() / "GPU-00000000.json").write_bytes(content)
    (line,) = restore_left(patience_s=0.0)
    assert "at 200 W: it could not be restored by" in line and "nvidia-smi -i GPU-00000000 -pl WATTS" in line
    assert "GPU-00000000.json" in caplog.text
    assert records() == ["GPU-00000000.json"]


@pytest.mark.parametrize(
    ("gpus", "root", "said"),
    [
        ([gpu(0), gpu(1)], False, r"this user may not change power limits on node .*search as root there.*SYS_ADMIN"),
        (
            [gpu(0), gpu(1, range_mw=(100_000, 220_000))],
            True,
            r"must lie within 100 to 220 W for GPU-00000001",
        ),
        (
            [gpu(0), gpu(1, range_mw=(220_000, 350_000))],
            True,
            r"must lie within 220 to 350 W for GPU-00000001",
        ),
        ([gpu(0), gpu(1, mig=True)], True, r"GPU-00000001 .* is cut into slices \(MIG\) or one of them"),
        ([gpu(0), gpu(1, range_mw=None)], True, r"GPU-00000001 .* has no power limit to set"),
        ([gpu(0), gpu(1, always_mw=280_000)], True, r"GPU-00000001 .* was set to 200 W and stands at 280 W"),
    ],
)
def test_what_can_not_be_is_refused_with_all_as_it_was(node, gpus, root, said):
    """By every phase at the start of the first one: no permission, out of range, MIG, a driver that holds another."""
    node.write(*gpus, root=root)
    with pytest.raises(ResourceError, match=rf"resources.power_limit_w: .*{said}.*leave power_limit_w out"):
        holder().hold(200.0, [200.0, 250.0])
    assert node.limits_w()[0] == 300.0
    node.write(gpu(0), gpu(1))
    again = holder()
    again.hold(200.0, [200.0])  # the locks are free
    again.release()


def test_no_driver_and_no_place_for_the_record_are_refused(node, monkeypatch, tmp_path):
    """Nothing is changed that could not be restored."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match=r"can't be written down on node .*set XDG_STATE_HOME to another"):
        holder().hold(200.0, [200.0])
    assert node.ever_set() == [0, 0]
    node.path.unlink()
    with pytest.raises(ResourceError, match=r"power limits can't be changed on node .*mend its driver"):
        holder().hold(200.0, [200.0])


@pytest.mark.parametrize(("visible", "expected"), [("1", [300.0, 200.0]), ("GPU-00000000", [200.0, 300.0])])
def test_only_the_gpus_that_a_node_gives_to_searches_are_limited(node, monkeypatch, visible, expected):
    """By number or by UUID, as in CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    power = holder()
    power.hold(200.0, [200.0])
    assert node.limits_w() == expected
    power.release()


@pytest.mark.parametrize("names", ["", "7", "GPU-99999999"])
def test_a_node_that_shows_no_gpu_is_refused(node, monkeypatch, names):
    """Else nothing would be held, and every trial would end for it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    with pytest.raises(ResourceError, match=r"NVML shows no GPU on node .*CUDA_VISIBLE_DEVICES"):
        holder().hold(200.0, [200.0])


def test_a_trial_on_a_gpu_at_another_limit_ends(node):
    """Its times would be mixed with those of the phase."""
    check_power_limit("00000000", 300.0)
    with pytest.raises(TrialError, match=r"GPU-00000000 .* stands at 300 W, and these trials are to run at 200 W"):
        check_power_limit("GPU-00000000", 200.0)
    with pytest.raises(TrialError, match="NVML does not tell that of 12345678"):
        check_power_limit("12345678", 200.0)


def test_a_user_without_a_home_has_a_folder_all_the_same(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    def homeless(path: Path) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert state_folder().parent.name == f"tune_cnn-state-{os.getuid()}"
